//! What the programs must know of the running kernel: where members of its structures stand, which tracepoints it has, and what it calls
//! its drop reasons. All of it comes from BTF. Start at [`Layout::read`].

use serde::{Deserialize, Serialize};

use super::btf::{Btf, Fault, Named};

/// Reasons above belong to subsystems, which number their own.
const MOST_REASONS: u64 = 4096;

/// What is looked for in the kernel's types.
pub(super) const WANTED: [(Named, &str); 14] = [
    (Named::Typedef, TRACEPOINT),
    (Named::Typedef, "btf_trace_netif_receive_skb"),
    (Named::Typedef, "btf_trace_consume_skb"),
    (Named::Typedef, "btf_trace_sk_data_ready"),
    (Named::Typedef, "btf_trace_sock_recv_length"),
    (Named::Typedef, "btf_trace_napi_poll"),
    (Named::Typedef, "btf_trace_napi_gro_receive_entry"),
    (Named::Enum, REASONS),
    (Named::Struct, "sk_buff"),
    (Named::Struct, "net_device"),
    (Named::Struct, "sock"),
    (Named::Struct, "net"),
    (Named::Struct, "task_struct"),
    (Named::Struct, "nsproxy"),
];
const TRACEPOINT: &str = "btf_trace_kfree_skb";
const REASONS: &str = "skb_drop_reason";

/// How many arguments the tracepoint has; the reason is the third, since Linux 5.17.
pub(super) fn arguments(btf: &Btf<'_>) -> Result<usize, Fault> {
    btf.tracepoint_arguments(TRACEPOINT)
}

/// The names of the reasons by number, without `SKB_DROP_REASON_`. A number that has none is its own name.
pub(super) fn reasons(btf: &Btf<'_>) -> Result<Vec<String>, Fault> {
    let mut names: Vec<Option<&str>> = Vec::new();
    for (value, name) in btf.enumerators(REASONS)? {
        let Some(value) = usize::try_from(value).ok().filter(|_| value < MOST_REASONS) else { continue };
        if names.len() <= value {
            names.resize(value + 1, None);
        }
        if let Some(place @ None) = names.get_mut(value) {
            *place = Some(name.strip_prefix("SKB_DROP_REASON_").or(name.strip_prefix("SKB_")).unwrap_or(name));
        }
    }
    let name = |(value, name): (usize, Option<&str>)| name.map_or_else(|| value.to_string(), ToOwned::to_owned);
    Ok(names.into_iter().enumerate().map(name).collect())
}

/// Where members stand in the kernel's structures, in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Layout {
    pub(super) skb: Skb,
    pub(super) device_net: i32,
    pub(super) device_index: i32,
    pub(super) socket_net: i32,
    pub(super) net_inode: i32,
    pub(super) task_namespaces: i32,
    pub(super) namespaces_net: i32,
    /// Whether the tracepoint `kfree_skb` gives the socket.
    pub(super) socket: bool,
}

/// Where members stand in `struct sk_buff`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Skb {
    pub(super) device: i32,
    pub(super) length: i32,
    pub(super) arrived: i32,
    pub(super) protocol: i32,
    pub(super) network: i32,
    pub(super) tail: i32,
    pub(super) head: i32,
    pub(super) bytes: i32,
}

impl Layout {
    /// # Errors
    /// [`Fault::Missing`] where this kernel has something else than what the program reads.
    pub(super) fn read(btf: &Btf<'_>) -> Result<Self, Fault> {
        let skb = |member, size| btf.offset("sk_buff", member, size);
        Ok(Self {
            skb: Skb {
                device: skb("dev", 8)?,
                length: skb("len", 4)?,
                arrived: skb("skb_iif", 4)?,
                protocol: skb("protocol", 2)?,
                network: skb("network_header", 2)?,
                // With 4 bytes it counts from the head. Only kernels of 32 bits have a pointer here.
                tail: skb("tail", 4)?,
                head: skb("head", 8)?,
                bytes: skb("data", 8)?,
            },
            device_net: btf.offset("net_device", "nd_net.net", 8)?,
            device_index: btf.offset("net_device", "ifindex", 4)?,
            socket_net: btf.offset("sock", "__sk_common.skc_net.net", 8)?,
            net_inode: btf.offset("net", "ns.inum", 4)?,
            task_namespaces: btf.offset("task_struct", "nsproxy", 8)?,
            namespaces_net: btf.offset("nsproxy", "net_ns", 8)?,
            socket: arguments(btf)? > 3,
        })
    }
}

impl Skb {
    /// The part that holds all of these: where it begins, and how long it is, in multiples of 8.
    pub(super) fn part(&self) -> (i32, i32) {
        let Self { device, length, arrived, protocol, network, tail, head, bytes } = *self;
        span(&[(device, 8), (length, 4), (arrived, 4), (protocol, 2), (network, 2), (tail, 4), (head, 8), (bytes, 8)])
    }
}

/// Where the part begins that holds all these members, given by offset and size, and how long it is, both in multiples of 8.
fn span(members: &[(i32, i32)]) -> (i32, i32) {
    let start = members.iter().map(|(offset, _)| offset & !7).min().unwrap_or(0);
    let end = members.iter().map(|(offset, size)| offset + size).max().unwrap_or(0);
    (start, (end - start + 7) & !7)
}

/// Where the members stand that only following a packet needs, in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FollowingLayout {
    /// `sk_buff._skb_refdst`: not 0 where the packet already has a route, as this host's own looped-back multicasts have.
    pub(super) route: i32,
    /// The kind of the socket (`SOCK_DGRAM`), 2 bytes.
    pub(super) socket_type: i32,
    /// The protocol of the socket, 2 bytes.
    pub(super) socket_protocol: i32,
    /// The address family, 2 bytes.
    pub(super) socket_family: i32,
    /// The local port in host order, 2 bytes.
    pub(super) socket_port: i32,
    /// The receive queue: a list whose `prev` is the last packet, or the list itself where it is empty.
    pub(super) queue: i32,
    pub(super) queue_last: i32,
    /// Whether the tracepoint `consume_skb` gives the location (Linux 6.3).
    pub(super) location: bool,
}

impl FollowingLayout {
    /// The part of a `sock` that holds its kind and protocol: where it begins, and how long it is.
    pub(super) fn protocol_part(&self) -> (i32, i32) {
        span(&[(self.socket_type, 2), (self.socket_protocol, 2)])
    }

    /// The same for its family, port and, at `net`, network namespace.
    pub(super) fn address_part(&self, net: i32) -> (i32, i32) {
        span(&[(self.socket_family, 2), (self.socket_port, 2), (net, 8)])
    }

    /// # Errors
    /// [`Fault::Missing`] with the reason in plain words where this kernel lacks something that following needs.
    pub(super) fn read(btf: &Btf<'_>) -> Result<Self, Fault> {
        let needed = [
            ("btf_trace_netif_receive_skb", 1, "the tracepoint `netif_receive_skb`"),
            ("btf_trace_consume_skb", 1, "the tracepoint `consume_skb`"),
            ("btf_trace_napi_poll", 1, "the tracepoint `napi_poll`"),
            ("btf_trace_napi_gro_receive_entry", 1, "the tracepoint `napi_gro_receive_entry`"),
            ("btf_trace_sk_data_ready", 1, "the tracepoint `sk_data_ready` (Linux 6.2)"),
            ("btf_trace_sock_recv_length", 3, "the tracepoint `sock_recv_length` (Linux 6.3)"),
        ];
        for (typedef, arguments, what) in needed {
            if !btf.tracepoint_arguments(typedef).is_ok_and(|has| has >= arguments) {
                return Err(Fault::Missing(format!("this kernel lacks {what}")));
            }
        }
        let socket = |member, size| btf.offset("sock", member, size);
        Ok(Self {
            route: btf.offset("sk_buff", "_skb_refdst", 8)?,
            socket_type: socket("sk_type", 2)?,
            socket_protocol: socket("sk_protocol", 2)?,
            socket_family: socket("__sk_common.skc_family", 2)?,
            socket_port: socket("__sk_common.skc_num", 2)?,
            // It begins with `next`.
            queue: socket("sk_receive_queue.next", 8)?,
            queue_last: socket("sk_receive_queue.prev", 8)?,
            location: btf.tracepoint_arguments("btf_trace_consume_skb").is_ok_and(|has| has > 1),
        })
    }
}
