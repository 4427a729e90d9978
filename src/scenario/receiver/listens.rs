//! `[receiver] listens`: the sockets that make an application ready.

use serde::{Deserialize, Deserializer};

use super::super::form::{refused, schema, values};
use super::super::require::Listener;

/// The sockets that make an application ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listens {
    /// UDP and TCP sockets.
    pub sockets: Vec<Listener>,
    /// Whether a packet socket on the receiver's interface (packet(7)) is among them: sniffers have one.
    pub packet: bool,
}

/// As a scenario has one of them.
enum Entry {
    Socket(Listener),
    Packet,
}

values! {
    Entry: String, |text: &String| match text.split_once(':') {
        Some(("packet", "{receiver}")) => Ok(Self::Packet),
        Some(("packet", other)) => Err(refused(
            format!("`{other}` is not `{{receiver}}`, the interface that the frames arrive at"),
            "write \"packet:{receiver}\"",
        )),
        _ => text.parse().map(Self::Socket).map_err(|why: String| refused(
            why,
            "write \"udp:4739\", \"udp:192.0.2.20:4739\" or \"udp:[2001:db8::1]:4739\", the same with tcp, or \"packet:{receiver}\"",
        )),
    };
}

impl<'de> Deserialize<'de> for Listens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut listens = Self::default();
        for entry in Vec::<Entry>::deserialize(deserializer)? {
            match entry {
                Entry::Socket(socket) => listens.sockets.push(socket),
                Entry::Packet => listens.packet = true,
            }
        }
        Ok(listens)
    }
}

schema!(Listens, generator => generator.subschema_for::<Vec<Entry>>());
