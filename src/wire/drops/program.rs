//! The program that the kernel runs for each packet that it drops, and what of the kernel's memory it must know.
//!
//! It is attached to the raw tracepoint `kfree_skb` (include/trace/events/skb.h), whose arguments are the packet, the location, the
//! reason and, since Linux 6.11, the socket that was to have it. Start at [`program`].

use super::assembler::{Assembler, Helper, If, Instruction, Label, Register, Size};
use super::btf::{Btf, Fault, Named};

use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};

/// Bytes of a packet that a record holds at most.
pub(super) const PACKET_BYTES: i16 = 160;
/// A record begins with these: time u64, location u64, reason u32, length u32, EtherType (2 bytes, network order), 6 bytes of nothing.
pub(super) const HEAD_BYTES: i16 = 32;
/// Where they stand.
pub(super) const TIME: i16 = 0;
pub(super) const LOCATION: i16 = 8;
pub(super) const REASON: i16 = 16;
pub(super) const LENGTH: i16 = 20;
pub(super) const ETHERTYPE: i16 = 24;

/// The stack, from its end down: two words, the record, the part of the `sk_buff` that is looked at.
const POINTER: i16 = -8;
const WORD: i16 = -16;
const RECORD: i16 = WORD - PACKET_BYTES - HEAD_BYTES;
const STACK_BYTES: i16 = 512;

/// No packet is longer, not even one of several that were merged.
const LONGEST: i32 = 1 << 24;
/// How much the ring may grow from one look of the program to the next; a few records of several CPUs.
const STEP_BYTES: i32 = 4096;
const BPF_RB_NO_WAKEUP: i32 = 1;
const BPF_RB_FORCE_WAKEUP: i32 = 2;
/// Reasons above belong to subsystems, which number their own.
const MOST_REASONS: u64 = 4096;

/// What is looked for in the kernel's types.
pub(super) const WANTED: [(Named, &str); 8] = [
    (Named::Typedef, TRACEPOINT),
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
#[derive(Debug)]
pub(super) struct Layout {
    skb: Skb,
    device_net: i32,
    device_index: i32,
    socket_net: i32,
    net_inode: i32,
    task_namespaces: i32,
    namespaces_net: i32,
    /// Whether the tracepoint gives the socket.
    socket: bool,
}

/// Where members stand in `struct sk_buff`.
#[derive(Debug)]
struct Skb {
    device: i32,
    length: i32,
    arrived: i32,
    protocol: i32,
    network: i32,
    tail: i32,
    head: i32,
    bytes: i32,
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
    fn part(&self) -> (i32, i32) {
        let Self { device, length, arrived, protocol, network, tail, head, bytes } = *self;
        let ends =
            [(device, 8), (length, 4), (arrived, 4), (protocol, 2), (network, 2), (tail, 4), (head, 8), (bytes, 8)];
        let start = ends.iter().map(|(offset, _)| offset & !7).min().unwrap_or(0);
        let end = ends.iter().map(|(offset, size)| offset + size).max().unwrap_or(0);
        (start, (end - start + 7) & !7)
    }
}

/// A process, as its own pid namespace numbers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) id: u32,
    /// The device and the inode number of the pid namespace.
    pub(super) namespace: (u32, u32),
}

/// What the program tells apart, and where it writes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The inode number of the network namespace.
    pub(super) namespace: u32,
    /// The index of the interface there.
    pub(super) interface: u32,
    /// This process, where it can be told.
    pub(super) process: Option<Process>,
    /// The number of `UDP_CSUM`, the only reason for which the current task counts: a timer's drops hit whatever task they interrupt.
    pub(super) found_late: Option<i32>,
    /// The descriptor of the ring.
    pub(super) ring: i32,
    /// Its size in bytes.
    pub(super) ring_bytes: i32,
    /// The descriptor of an array of one value: a u64 for each reason by number, one for all reasons beyond, one for records that found
    /// no room.
    pub(super) counters: i32,
    /// How many reasons there are.
    pub(super) reasons: i32,
    /// Of so many packets of each reason there are records; further ones count as records that found no room.
    pub(super) most_records: Option<i32>,
    /// The number of `CPU_BACKLOG`, where there is one.
    pub(super) backlog: Option<i32>,
}

/// The program.
///
/// A packet is looked at if it came in through the interface (`skb_iif`, which stays set for what waits in a socket's queue), or was
/// about to: the backlog of a CPU is full before `skb_iif` is set. Its namespace is that of the socket that was to have it, else
/// of its device, else, for a datagram whose checksum is found wrong by recvmsg(2), of the current task. There, this process counts as
/// inside: it may read sockets of the namespace from outside.
///
/// # Errors
/// [`Fault::Missing`] where the kernel's `sk_buff` is too large for the stack.
pub(super) fn program(layout: &Layout, target: &Target) -> Result<Option<Vec<Instruction>>, Fault> {
    let (start, length) = layout.skb.part();
    let room = i32::from(STACK_BYTES + RECORD);
    let part = i16::try_from(length).ok().filter(|length| i32::from(*length) <= room);
    let part = part.ok_or_else(|| Fault::Missing(format!("`sk_buff` is larger than {room} bytes")))?;
    let mut code = Assembler::default();
    let (out, lost) = (code.label(), code.label());
    let base = RECORD - part;
    // What stands on the stack is inside 512 bytes, which `room` has checked.
    let on_stack = |offset: i32| i16::try_from(offset - start).map_or(base, |offset| base + offset);
    let writer = Writer { layout, target, on_stack: &on_stack, out, lost };

    // R6: the arguments. R7: the packet. R9: the reason.
    code.copy(R6, R1);
    code.load(Size::Double, R7, R6, 0);
    code.load(Size::Double, R9, R6, 16);
    code.copy32(R9, R9);
    code.probe(base, length, R7, start);
    writer.leave_unless_arrived(&mut code);
    writer.leave_unless_in_namespace(&mut code);
    writer.count(&mut code);
    writer.record(&mut code);
    code.place(out);
    code.exit();
    Ok(code.finish())
}

struct Writer<'a> {
    layout: &'a Layout,
    target: &'a Target,
    /// Where a member of the `sk_buff` stands on the stack.
    on_stack: &'a dyn Fn(i32) -> i16,
    out: Label,
    /// Where a record is counted that isn't written.
    lost: Label,
}

impl Writer<'_> {
    /// Loads a member of the packet.
    fn member(&self, code: &mut Assembler, size: Size, to: Register, offset: i32) {
        code.load(size, to, R10, (self.on_stack)(offset));
    }

    /// Leaves R8: where the network header stands, counted from the head.
    fn leave_unless_arrived(&self, code: &mut Assembler) {
        let skb = &self.layout.skb;
        let (arrived, on) = (code.label(), code.label());
        let interface = self.target.interface.cast_signed();
        self.member(code, Size::Word, R1, skb.arrived);
        code.jump_if(R1, If::Equal32, interface, arrived);
        match self.target.backlog {
            None => code.jump(self.out),
            Some(backlog) => {
                code.jump_if(R1, If::NotEqual, 0, self.out);
                code.jump_if(R9, If::NotEqual, backlog, self.out);
                self.member(code, Size::Double, R3, skb.device);
                code.probe(WORD, 4, R3, self.layout.device_index);
                code.load(Size::Word, R1, R10, WORD);
                code.jump_if(R1, If::NotEqual32, interface, self.out);
                // The network header isn't set yet, but the Ethernet header is already pulled.
                self.member(code, Size::Double, R8, skb.bytes);
                self.member(code, Size::Double, R1, skb.head);
                code.subtract(R8, R1);
                code.jump(on);
            }
        }
        code.place(arrived);
        self.member(code, Size::Half, R8, skb.network);
        code.place(on);
    }

    fn leave_unless_in_namespace(&self, code: &mut Assembler) {
        let (no_socket, net, known, inside) = (code.label(), code.label(), code.label(), code.label());
        let namespace = self.target.namespace.cast_signed();
        if self.layout.socket {
            code.load(Size::Double, R3, R6, 24);
            code.jump_if(R3, If::Equal, 0, no_socket);
            code.probe(POINTER, 8, R3, self.layout.socket_net);
            code.jump(net);
        }
        code.place(no_socket);
        // A datagram in a queue has other things where the device stood. Reading there fails, and gives 0.
        self.member(code, Size::Double, R3, self.layout.skb.device);
        code.probe(POINTER, 8, R3, self.layout.device_net);
        code.place(net);
        self.inode(code);
        code.jump_if(R1, If::NotEqual, 0, known);
        if let Some(reason) = self.target.found_late {
            code.jump_if(R9, If::NotEqual, reason, self.out);
            self.current_task(code, inside);
        }
        code.jump(self.out);
        code.place(known);
        code.jump_if(R1, If::NotEqual32, namespace, self.out);
        code.place(inside);
    }

    /// Goes to `inside` if the current task is in the namespace, or is this process; else goes on.
    fn current_task(&self, code: &mut Assembler, inside: Label) {
        let namespace = self.target.namespace.cast_signed();
        code.call(Helper::GetCurrentTask);
        code.probe(POINTER, 8, R0, self.layout.task_namespaces);
        code.load(Size::Double, R3, R10, POINTER);
        code.probe(POINTER, 8, R3, self.layout.namespaces_net);
        self.inode(code);
        code.jump_if(R1, If::Equal32, namespace, inside);
        if let Some(Process { id, namespace: (device, inode) }) = self.target.process {
            code.store_number(Size::Double, R10, POINTER, 0);
            code.set32(R1, device);
            code.set32(R2, inode);
            code.copy(R3, R10);
            code.add_number(R3, i32::from(POINTER));
            code.set(R4, 8);
            code.call(Helper::GetNsCurrentPidTgid);
            code.jump_if(R0, If::NotEqual, 0, self.out);
            code.load(Size::Word, R1, R10, POINTER + 4);
            code.jump_if(R1, If::Equal32, id.cast_signed(), inside);
        }
    }

    /// R1: the inode number of the `struct net` whose address stands on the stack; 0 where there is none.
    fn inode(&self, code: &mut Assembler) {
        code.load(Size::Double, R3, R10, POINTER);
        code.probe(WORD, 4, R3, self.layout.net_inode);
        code.load(Size::Word, R1, R10, WORD);
    }

    fn count(&self, code: &mut Assembler) {
        let (beyond, index) = (code.label(), code.label());
        code.copy(R2, R9);
        code.jump_if(R2, If::Greater, self.target.reasons - 1, beyond);
        code.jump(index);
        code.place(beyond);
        code.set(R2, self.target.reasons);
        code.place(index);
        code.shift_left(R2, 3);
        code.map_value(R1, self.target.counters, 0);
        code.add(R1, R2);
        code.load(Size::Double, R3, R1, 0);
        code.set(R2, 1);
        code.atomic_add(R1, R2);
        if let Some(most) = self.target.most_records {
            code.jump_if(R3, If::Greater, most - 1, self.lost);
        }
    }

    /// Leaves R4: the flags for the ring. Waking a reader for every record takes longer than all the rest, so that it is woken once,
    /// when an eighth of the ring is full.
    fn wake_up(&self, code: &mut Assembler) {
        let eighth = self.target.ring_bytes / 8;
        let chosen = code.label();
        code.map(R1, self.target.ring);
        code.set(R2, 0);
        code.call(Helper::RingbufQuery);
        code.set(R4, BPF_RB_NO_WAKEUP);
        code.add_number(R0, -eighth);
        // Less than an eighth is a large number now.
        code.jump_if(R0, If::Greater, STEP_BYTES, chosen);
        code.set(R4, BPF_RB_FORCE_WAKEUP);
        code.place(chosen);
    }

    fn record(&self, code: &mut Assembler) {
        let skb = &self.layout.skb;
        let (nothing, lengths, copy, output) = (code.label(), code.label(), code.label(), code.label());
        code.call(Helper::KtimeGetNs);
        code.store(Size::Double, R10, RECORD + TIME, R0);
        code.load(Size::Double, R1, R6, 8);
        code.store(Size::Double, R10, RECORD + LOCATION, R1);
        code.store(Size::Word, R10, RECORD + REASON, R9);
        code.store_number(Size::Word, R10, RECORD + LENGTH, 0);
        code.store_number(Size::Double, R10, RECORD + ETHERTYPE, 0);
        self.member(code, Size::Half, R1, skb.protocol);
        code.store(Size::Half, R10, RECORD + ETHERTYPE, R1);

        // Neither 0 nor all ones is a place; a negative number is large.
        code.jump_if(R8, If::Equal, 0, nothing);
        code.jump_if(R8, If::Greater, 0xfffe, nothing);
        // R3: the network header's address. The length counts from `data`, which may stand before or behind it.
        self.member(code, Size::Double, R3, skb.head);
        code.add(R3, R8);
        self.member(code, Size::Word, R1, skb.length);
        self.member(code, Size::Double, R2, skb.bytes);
        code.add(R1, R2);
        code.subtract(R1, R3);
        code.jump_if(R1, If::Greater, LONGEST, lengths);
        code.store(Size::Word, R10, RECORD + LENGTH, R1);
        code.place(lengths);
        // R9: how many bytes stand at R3 in one piece.
        self.member(code, Size::Word, R9, skb.tail);
        code.subtract(R9, R8);
        code.jump_if(R9, If::Greater, LONGEST, nothing);
        let short = code.label();
        code.jump_if(R9, If::Greater, i32::from(PACKET_BYTES), short);
        code.jump(copy);
        code.place(short);
        code.set(R9, i32::from(PACKET_BYTES));
        code.place(copy);
        // Always all of them, so that the verifier knows the stack as written. What is beyond R9 stays in the kernel: behind the tail
        // stands `skb_shared_info`, so that the memory is there.
        code.probe(RECORD + HEAD_BYTES, i32::from(PACKET_BYTES), R3, 0);
        code.jump_if(R0, If::Equal, 0, output);
        code.place(nothing);
        code.set(R9, 0);
        code.place(output);
        self.wake_up(code);
        code.map(R1, self.target.ring);
        code.copy(R2, R10);
        code.add_number(R2, i32::from(RECORD));
        code.copy(R3, R9);
        code.add_number(R3, i32::from(HEAD_BYTES));
        code.call(Helper::RingbufOutput);
        code.jump_if(R0, If::Equal, 0, self.out);
        code.place(self.lost);
        code.map_value(R1, self.target.counters, 8 * (self.target.reasons + 1));
        code.set(R2, 1);
        code.atomic_add(R1, R2);
    }
}
