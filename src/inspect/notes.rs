//! What a replay of the capture has to heed.

use super::{Conversation, Note};

/// Conversations of which the capture holds both directions, and the filter that picks one of them: towards the server of the
/// busiest.
pub(super) fn both_directions(conversations: &[Conversation]) -> Option<Note> {
    let busiest = conversations.iter().find(|conversation| conversation.is_bidirectional())?;
    let count = conversations.iter().filter(|conversation| conversation.is_bidirectional()).count();
    let what = match (count, conversations.len()) {
        (1, 1) => "the conversation is held in both directions".to_owned(),
        (1, all) => format!("1 of {all} conversations is held in both directions"),
        (count, all) => format!("{count} of {all} conversations are held in both directions"),
    };
    let address = busiest.server.address;
    Some(Note {
        what,
        why: format!(
            "{address} is named as destination and as source, and the receiver can't be both: what comes from its own \
             address is dropped (IP_LOCAL_SOURCE)"
        ),
        fix: format!("choose one direction, of the busiest: `[capture] filter = \"{}\"`", towards(busiest)),
    })
}

/// A pcap-filter(7) expression for what goes to the server of this conversation.
fn towards(conversation: &Conversation) -> String {
    let server = conversation.server;
    // libpcap looks behind a VLAN tag only where it is told to.
    let tags = "vlan and ".repeat(conversation.vlan_tags);
    let protocol = match conversation.protocol.as_str() {
        "UDP" => "udp",
        "TCP" => "tcp",
        "SCTP" => "sctp",
        _ => return format!("{tags}dst host {}", server.address),
    };
    match server.port {
        // Later fragments have no port.
        Some(port) if !conversation.has_fragments => {
            format!("{tags}dst host {} and {protocol} dst port {port}", server.address)
        }
        _ => format!("{tags}dst host {}", server.address),
    }
}
