//! The network between two machines, as one more stage: what was sent here and did not arrive there. Start at [`losses`].

use super::loss;
use crate::capture::FrameRanges;
use crate::cause::Cause;
use crate::evidence::Arriving;
use crate::host::Host;
use crate::outcome::{Layer, Loss};
use crate::plan::Plan;
use crate::predict::{Carried, ClassKey, Flaw};

/// What frames have in common that a network does not carry.
type Trait = fn(&ClassKey, &Host) -> Option<(String, String)>;

/// What was sent and did not arrive, by what there is to be seen of the frames; a network says nothing by itself.
pub(super) fn losses(arriving: &Arriving, plan: &Plan) -> Vec<Loss> {
    let Some(host) = &plan.host else { return Vec::new() };
    let traits: [Trait; 5] = [another_mac, another_address, no_more_hops, a_bad_header, a_group];
    let mut losses = Vec::new();
    let mut left = arriving.missing.clone();
    for of in traits {
        let said = |key: &ClassKey| of(key, host);
        let classes: Vec<_> = plan.predictions.iter().map(|prediction| &prediction.class).collect();
        let mut with = classes.iter().filter(|class| said(&class.key).is_some());
        let Some((lost, others)) = left.split(&FrameRanges::union(with.clone().map(|class| &class.frames))) else {
            break;
        };
        let first = with.find(|class| lost.split(&class.frames).is_some_and(|(own, _)| !own.is_empty()));
        let Some((why, fix)) = first.and_then(|class| said(&class.key)).filter(|_| !lost.is_empty()) else { continue };
        losses.push(of_frames(&lost, &why, fix, host));
        left = others;
    }
    if !left.is_empty() {
        let mtu = host.interface.mtu_bytes;
        let longest = plan.survey.longest;
        let (why, fix) = if longest > mtu {
            let why =
                format!("the longest packet has {longest} bytes, and `{}` has an MTU of {mtu}", host.interface.name);
            (why, "send none that is longer: `[rewrite] oversize = \"truncate\"` or \"skip\"; or raise the MTU on the whole way".to_owned())
        } else {
            let why = "nothing of the frames themselves explains it".to_owned();
            (why, "look at the counters of each switch and router on the way (`ip -s link`, port statistics), and at their filters".to_owned())
        };
        losses.push(of_frames(&left, &why, fix, host));
    }
    losses
}

fn of_frames(frames: &FrameRanges, why: &str, fix: String, host: &Host) -> Loss {
    let why =
        format!("they were sent, and did not come in on `{}` of the receiver's machine; {why}", host.interface.name);
    let numbers = Some(frames.to_string());
    Loss { numbers, why, fix, ..loss(Cause::LostInNetwork, frames.count(), Layer::Stage) }
}

fn another_mac(key: &ClassKey, host: &Host) -> Option<(String, String)> {
    (key.mac != host.mac && !key.mac.is_multicast()).then(|| {
        let why = format!("they go to the MAC {}, and the next hop to the receiver has {}", key.mac, host.mac);
        (why, "`[rewrite.destination] mac = \"receiver\"`".to_owned())
    })
}

fn another_address(key: &ClassKey, host: &Host) -> Option<(String, String)> {
    let Carried::Ip { destination, .. } = key.carried else { return None };
    (!host.routes.is_local(destination) && !destination.is_multicast()).then(|| {
        let why = format!("they go to {destination}, which is no address of that machine");
        (why, "`[rewrite.destination] ip = \"receiver\"`, or a map to an address of that machine".to_owned())
    })
}

fn no_more_hops(key: &ClassKey, _: &Host) -> Option<(String, String)> {
    key.spent.then(|| {
        let why = "their TTL or hop limit is 0 or 1, and a router sends such packets no further".to_owned();
        (why, "`[rewrite.header] ttl = 64`".to_owned())
    })
}

fn a_bad_header(key: &ClassKey, _: &Host) -> Option<(String, String)> {
    matches!(key.flaw, Flaw::HeaderSum | Flaw::Header | Flaw::Length | Flaw::Version).then(|| {
        let why = "their IP header is wrong, and a router drops such packets".to_owned();
        (why, "`[rewrite] checksums = \"fix\"` where it is the checksum; else leave them out".to_owned())
    })
}

fn a_group(key: &ClassKey, _: &Host) -> Option<(String, String)> {
    let Carried::Ip { destination, .. } = key.carried else { return None };
    destination.is_multicast().then(|| {
        let why = format!("they go to the group {destination}, which a router sends on only where it routes groups, and a switch only where it was joined");
        (why, "let the receiver join it on that interface, or send from the same network".to_owned())
    })
}
