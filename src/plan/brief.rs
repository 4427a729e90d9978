//! What the receiver's side has to know of a plan, wherever it is. Start at [`Brief`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Plan, Question};
use crate::host::Host;
use crate::predict::{Carried, Prediction};
use crate::scenario::require::Listener;

/// What the receiver's side has to know of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Brief {
    /// Frames that will be sent, repetitions included.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The longest layer 3 packet, in bytes.
    pub longest: u32,
    /// The largest layer 3 packet of the sending interface, in bytes.
    pub mtu: u32,
    /// From the first to the last deadline; `None` at top speed.
    pub duration: Option<Duration>,
    /// After this long the run ends.
    pub timeout: Duration,
    /// The captured time of the first frame, in nanoseconds since 1970.
    pub first_ns: Option<u64>,
    /// UDP destination ports, by whether the address is IPv6.
    pub udp_ports: BTreeSet<(u16, bool)>,
    /// Group destination addresses.
    pub groups: BTreeSet<IpAddr>,
    /// The sockets that make the receiver ready.
    #[serde(serialize_with = "as_texts", deserialize_with = "from_texts")]
    pub listens: Vec<Listener>,
    /// What the frames ask.
    pub asked: Asked,
    /// Whether the network namespace that the receiver is in has a packet filter already.
    pub has_firewall: bool,
}

/// What identifies answers to the frames.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    /// The ports of those that ask.
    pub ports: BTreeSet<u16>,
    /// The addresses that answers go to, where replies are expected.
    pub sources: BTreeSet<IpAddr>,
    /// The addresses of a receiver that forwards: what comes from others is not its own. Empty where it does not forward.
    pub own: BTreeSet<IpAddr>,
}

impl Asked {
    fn of(plan: &Plan) -> Self {
        let questions = plan.questions.iter().flat_map(|questions| &questions.list);
        let asker = |question: &Question| question.sent.asker;
        let source = |prediction: &Prediction| match prediction.class.key.carried {
            Carried::Ip { source, .. } => Some(source),
            Carried::Other { .. } => None,
        };
        let mut sources = BTreeSet::new();
        if plan.questions.is_some() {
            sources.extend(questions.clone().map(asker).map(|(address, _)| address));
            sources.extend(plan.predictions.iter().filter_map(source));
        }
        let forwards = |host: &&Host| host.settings.forwarding.v4 || host.settings.forwarding.v6;
        let own = plan.host.iter().filter(forwards).flat_map(|host| {
            let link_local = IpAddr::V6(host.mac.link_local());
            host.addresses.iter().map(IpNet::addr).chain([link_local, Ipv4Addr::UNSPECIFIED.into()])
        });
        Self { ports: questions.map(asker).map(|(_, port)| port).collect(), sources, own: own.collect() }
    }
}

fn as_texts<S: Serializer>(listeners: &[Listener], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(listeners.iter().map(Listener::to_string))
}

fn from_texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listener>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

impl Plan {
    /// What the receiver's side has to know of it.
    pub fn brief(&self) -> Brief {
        Brief {
            frames: self.frames(),
            bytes: self.survey.bytes * self.rounds,
            longest: self.survey.longest,
            mtu: self.medium.mtu,
            duration: self.duration,
            timeout: self.timeout,
            first_ns: self.first_ns,
            udp_ports: self.survey.udp_ports.clone(),
            groups: self.survey.groups.clone(),
            listens: self.listens().to_vec(),
            asked: Asked::of(self),
            has_firewall: self.has_firewall(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_the_same() {
        let brief = Brief {
            frames: 720,
            duration: Some(Duration::from_millis(1)),
            udp_ports: [(4739, false)].into(),
            groups: [IpAddr::from([239, 1, 2, 3])].into(),
            listens: ["udp:4739", "tcp:[2001:db8::1]:22"].map(|text| text.parse().expect("a listener")).to_vec(),
            ..Brief::default()
        };
        let text = serde_json::to_string(&brief).expect("it can be written");
        assert_eq!(serde_json::from_str::<Brief>(&text).expect("it can be read"), brief, "{text}");
    }
}
