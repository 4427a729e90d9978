//! What a replay of the capture has to heed.

use super::{Conversation, Finding, Note};
use crate::capture::behind_tags;
use crate::figures::{agree, count, thousands};

/// Conversations of which the capture holds both directions, and the filter that picks one of them: towards the server of the
/// busiest.
pub(super) fn both_directions(conversations: &[Conversation]) -> Option<Note> {
    let busiest = conversations.iter().find(|conversation| conversation.is_bidirectional())?;
    let held = conversations.iter().filter(|conversation| conversation.is_bidirectional()).count();
    let what = match (held, conversations.len()) {
        (1, 1) => "the conversation is held in both directions".to_owned(),
        (held, all) => {
            let (held, all) = (held as u64, count(all as u64, "conversation"));
            format!("{} of {all} {} held in both directions", thousands(held), agree(held, "is", "are"))
        }
    };
    let address = busiest.server.address;
    Some(Note {
        what,
        why: format!(
            "{address} is named as destination and as source, and the receiver can't be both: what comes from its own \
             address is dropped (IP_LOCAL_SOURCE)"
        ),
        // libpcap looks behind a VLAN tag only where the expression says so.
        fix: format!(
            "choose one direction, of the busiest: `[capture] filter = \"{}{}\"`",
            "vlan and ".repeat(busiest.vlan_tags),
            towards(busiest)
        ),
    })
}

/// Frames with VLAN tags, at most so many each, behind which a filter looks only where it says so.
pub(super) fn vlan_tags(tagged: Finding, deepest: usize, conversations: &[Conversation]) -> Option<Note> {
    let what = match tagged.frames {
        0 => return None,
        1 => "1 frame has VLAN tags".to_owned(),
        frames => format!("{frames} frames have VLAN tags"),
    };
    let example = conversations.first().map_or("ip".to_owned(), towards);
    Some(Note {
        what,
        why: "a filter looks behind VLAN tags only where it says `vlan`".to_owned(),
        fix: format!("for frames with and without them: `[capture] filter = \"{}\"`", behind_tags(&example, deepest)),
    })
}

/// A pcap-filter(7) expression for what goes to the server of this conversation, without its VLAN tags.
fn towards(conversation: &Conversation) -> String {
    let server = conversation.server;
    let protocol = match conversation.protocol.as_str() {
        "UDP" => "udp",
        "TCP" => "tcp",
        "SCTP" => "sctp",
        _ => return format!("dst host {}", server.address),
    };
    match server.port {
        // Later fragments have no port.
        Some(port) if !conversation.has_fragments => {
            format!("dst host {} and {protocol} dst port {port}", server.address)
        }
        _ => format!("dst host {}", server.address),
    }
}
