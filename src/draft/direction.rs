//! Who receives in a capture, and the filter that selects what goes there. Start at [`Direction::of`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::capture::behind_tags;
use crate::inspect::{Conversation, Inspection, Side};

/// Ports that a filter names at most, those with most frames first.
const MOST_PORTS: usize = 12;
/// Addresses that it names at most for a port.
const MOST_HOSTS: usize = 16;
/// Ports below are those of servers, where nothing else tells (RFC 6335, section 6).
const FIRST_USER_PORT: u16 = 1024;

/// The frames that go to receivers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Direction {
    /// A pcap-filter(7) expression that selects them; `None`: they are all that the capture has.
    pub(super) filter: Option<String>,
    /// The UDP ports that they go to, rising; none where it is another protocol.
    pub(super) ports: Vec<u16>,
    /// The addresses that they go to, rising.
    pub(super) servers: BTreeSet<IpAddr>,
    /// How many.
    pub(super) frames: u64,
    /// Whether the capture has answers to them.
    pub(super) has_answers: bool,
    /// How many VLAN tags they have.
    pub(super) vlan_tags: usize,
    /// Other UDP ports that something goes to, which are left out.
    pub(super) other_ports: Vec<u16>,
    /// The protocol, where it isn't UDP.
    pub(super) other_protocol: Option<String>,
}

/// What goes to one UDP port.
#[derive(Debug, Default)]
struct Service {
    hosts: BTreeSet<IpAddr>,
    frames: u64,
    has_answers: bool,
    /// Whether the port alone doesn't tell the direction: answers go to the same port.
    needs_hosts: bool,
    has_fragments: bool,
    vlan_tags: usize,
}

impl Direction {
    /// Finds it in a capture. `one_port`: only what goes to the port with most frames.
    pub(super) fn of(inspection: &Inspection, one_port: bool) -> Self {
        let conversations = &inspection.conversations;
        let mut uses: HashMap<(IpAddr, u16), u64> = HashMap::new();
        for side in udp(conversations).flat_map(|conversation| [conversation.client, conversation.server]) {
            *uses.entry(key(side)).or_default() += 1;
        }
        let mut services: BTreeMap<u16, Service> = BTreeMap::new();
        let mut roles = Roles::default();
        // Those with most frames first: they decide which side of a host is replayed.
        for conversation in udp(conversations) {
            let (client, server, to_it, from_it) = if is_server(conversation, &uses) {
                (conversation.client, conversation.server, conversation.from_client, conversation.from_server)
            } else {
                (conversation.server, conversation.client, conversation.from_server, conversation.from_client)
            };
            if !roles.give(client.address, server.address) {
                continue;
            }
            let service = services.entry(server.port.unwrap_or_default()).or_default();
            service.hosts.insert(server.address);
            service.frames += to_it.frames;
            service.has_answers |= from_it.frames > 0;
            service.needs_hosts |= from_it.frames > 0 && client.port == server.port;
            service.has_fragments |= conversation.has_fragments;
            service.vlan_tags = service.vlan_tags.max(conversation.vlan_tags);
        }
        let mut services: Vec<(u16, Service)> = services.into_iter().collect();
        services.sort_by_key(|(port, service)| (std::cmp::Reverse(service.frames), *port));
        let left_out = services.split_off(services.len().min(if one_port { 1 } else { MOST_PORTS }));
        if services.is_empty() {
            return Self::of_another_protocol(inspection);
        }
        let vlan_tags = services.iter().map(|(_, service)| service.vlan_tags).max().unwrap_or(0);
        let frames = services.iter().map(|(_, service)| service.frames).sum();
        let expression = |(port, service): &(u16, Service)| expression(*port, service, roles.has_conflicts);
        let expressions: Vec<String> = services.iter().map(expression).collect();
        let all = match expressions.as_slice() {
            [only] => only.clone() + &roles.exclusion(),
            more => {
                let each = |one: &String| if one.contains(" and ") { format!("({one})") } else { one.clone() };
                let any = more.iter().map(each).collect::<Vec<_>>().join(" or ");
                let exclusion = roles.exclusion();
                if exclusion.is_empty() { any } else { format!("({any}){exclusion}") }
            }
        };
        let mut ports: Vec<u16> = services.iter().map(|(port, _)| *port).collect();
        ports.sort_unstable();
        let is_all = frames == inspection.frames && inspection.unlisted.conversations == 0;
        Self {
            filter: (!is_all).then(|| if vlan_tags > 0 { behind_tags(&all, vlan_tags) } else { all }),
            ports,
            servers: services.iter().flat_map(|(_, service)| service.hosts.clone()).collect(),
            frames,
            has_answers: services.iter().any(|(_, service)| service.has_answers),
            vlan_tags,
            other_ports: left_out.iter().map(|(port, _)| *port).collect(),
            other_protocol: None,
        }
    }

    /// Without UDP: what goes to the server of the busiest conversation.
    fn of_another_protocol(inspection: &Inspection) -> Self {
        let Some(busiest) = inspection.conversations.first() else {
            return Self { frames: inspection.frames, ..Self::default() };
        };
        let server = busiest.server.address;
        let to_it = inspection.conversations.iter().map(|conversation| {
            let from_client = if conversation.server.address == server { conversation.from_client.frames } else { 0 };
            from_client + if conversation.client.address == server { conversation.from_server.frames } else { 0 }
        });
        let frames = to_it.sum();
        let expression = format!("dst host {server}");
        let is_all = frames == inspection.frames && inspection.unlisted.conversations == 0;
        Self {
            filter: (!is_all).then(|| behind_tags(&expression, busiest.vlan_tags)),
            servers: [server].into(),
            frames,
            has_answers: busiest.is_bidirectional(),
            vlan_tags: busiest.vlan_tags,
            other_protocol: Some(busiest.protocol.clone()),
            ..Self::default()
        }
    }
}

/// Who receives and who sends. A host that does both can be replayed on one side only.
#[derive(Debug, Default)]
struct Roles {
    receivers: HashSet<IpAddr>,
    senders: HashSet<IpAddr>,
    /// Receivers that also send in what is left out, rising.
    both: BTreeSet<IpAddr>,
    has_conflicts: bool,
}

impl Roles {
    /// Whether a conversation fits to those before it.
    fn give(&mut self, client: IpAddr, server: IpAddr) -> bool {
        if self.senders.contains(&server)
            || self.receivers.contains(&client)
            || client == server && !client.is_loopback()
        {
            self.has_conflicts = true;
            if self.receivers.contains(&client) {
                self.both.insert(client);
            }
            return false;
        }
        if !client.is_loopback() {
            self.senders.insert(client);
            self.receivers.insert(server);
        }
        true
    }

    /// What a filter has to add, so that nothing comes from a receiver.
    fn exclusion(&self) -> String {
        let sources: Vec<String> = self.both.iter().take(MOST_HOSTS).map(|host| format!("src host {host}")).collect();
        match sources.as_slice() {
            [] => String::new(),
            [only] => format!(" and not {only}"),
            some => format!(" and not ({})", some.join(" or ")),
        }
    }
}

fn udp(conversations: &[Conversation]) -> impl Iterator<Item = &Conversation> {
    conversations.iter().filter(|conversation| conversation.protocol == "UDP" && conversation.server.port.is_some())
}

fn key(side: Side) -> (IpAddr, u16) {
    (side.address, side.port.unwrap_or_default())
}

/// Whether the side that did not send first is the server. Where only one side sent, the other one receives.
fn is_server(conversation: &Conversation, uses: &HashMap<(IpAddr, u16), u64>) -> bool {
    if !conversation.is_bidirectional() {
        return conversation.from_client.frames > 0;
    }
    let (client, server) = (key(conversation.client), key(conversation.server));
    // A server has one port for all; a client has a new one for each conversation.
    let [client_uses, server_uses] = [client, server].map(|side| uses.get(&side).copied().unwrap_or_default());
    if client_uses != server_uses {
        return server_uses > client_uses;
    }
    !(client.1 < FIRST_USER_PORT && server.1 >= FIRST_USER_PORT)
}

/// A pcap-filter(7) expression for what goes to a port. `name_hosts`: to these hosts only.
fn expression(port: u16, service: &Service, name_hosts: bool) -> String {
    let hosts: Vec<String> = service.hosts.iter().map(|host| format!("dst host {host}")).collect();
    let hosts = match hosts.as_slice() {
        [only] => format!(" and {only}"),
        some if some.len() <= MOST_HOSTS => format!(" and ({})", some.join(" or ")),
        _ => String::new(),
    };
    match (service.has_fragments, service.needs_hosts || name_hosts) {
        // Later fragments have no port.
        (true, _) => format!("udp{hosts}"),
        (false, true) => format!("udp dst port {port}{hosts}"),
        (false, false) => format!("udp dst port {port}"),
    }
}
