//! What the programs have in common: the record on the stack, the way into the ring, and how a packet is recognised. Start at [`Writer`].

use super::assembler::{Assembler, Helper, If, Instruction, Label, Register, Size};
use super::btf::Fault;
use super::layout::Layout;

use Register::{R0, R1, R2, R3, R4, R7, R8, R9, R10};

/// Bytes of a packet that a record holds at most.
pub(super) const PACKET_BYTES: i16 = 160;
/// Every record begins with these: time u64, kind u16, EtherType or port u16, length u32, position u64 (all ones: none).
pub(super) const TIME: i16 = 0;
pub(super) const KIND: i16 = 8;
/// In network order.
pub(super) const ETHERTYPE: i16 = 10;
/// In host order, in place of the EtherType.
pub(super) const PORT: i16 = 10;
pub(super) const LENGTH: i16 = 12;
pub(super) const POSITION: i16 = 16;
/// Of an arrival, what follows is the packet.
pub(super) const ARRIVED_BYTES: i16 = 24;
/// Where a packet was dropped or consumed.
pub(super) const LOCATION: i16 = 24;
pub(super) const CONSUMED_BYTES: i16 = 32;
/// The socket that has queued or read a packet.
pub(super) const QUEUE: i16 = 24;
pub(super) const QUEUED_BYTES: i16 = 32;
/// The socket that was to have a packet that was dropped.
pub(super) const SOCKET: i16 = 32;
pub(super) const REASON: i16 = 40;
/// Of a drop, what follows is the packet.
pub(super) const DROPPED_BYTES: i16 = 48;

/// What a record holds.
pub(super) mod kind {
    pub(crate) const ARRIVED: u16 = 1;
    pub(crate) const DROPPED: u16 = 2;
    pub(crate) const CONSUMED: u16 = 3;
    pub(crate) const QUEUED: u16 = 4;
    pub(crate) const READ: u16 = 5;
    /// Added to the kind where a clone of the packet was dropped or consumed.
    pub(crate) const CLONE: u16 = 0x100;
}

/// The stack, from its end down: two words, a key and a value of the table, the record, the part of the `sk_buff` that is looked at.
pub(super) const POINTER: i16 = -8;
pub(super) const WORD: i16 = -16;
pub(super) const KEY: i16 = -24;
/// When the packet arrived u64, its position u64 (all ones: not one of the capture's), the address of its `sk_buff` u64.
pub(super) const VALUE: i16 = KEY - VALUE_BYTES;
pub(super) const VALUE_BYTES: i16 = 24;
pub(super) const RECORD: i16 = VALUE - PACKET_BYTES - DROPPED_BYTES;
const STACK_BYTES: i16 = 512;

/// What a CPU works on, in an array of one value for each CPU: the position of the newest packet and 1 (0: none of the capture's).
pub(super) const CELL_POSITION: i16 = 0;
/// The address of its `sk_buff`.
pub(super) const CELL_PACKET: i16 = 8;
/// The socket that a packet was put into the queue of since.
pub(super) const CELL_SOCKET: i16 = 16;
/// Whether the packets of this poll are handled in batches: all of them arrive before the first one goes on.
pub(super) const CELL_BATCHED: i16 = 24;
pub(super) const CELL_BYTES: u32 = 32;

/// No packet is longer, not even one of several that were merged.
const LONGEST: i32 = 1 << 24;
/// How much the ring may grow from one look of a program to the next; a few records of several CPUs.
const STEP_BYTES: i32 = 4096;
const BPF_RB_NO_WAKEUP: i32 = 1;
const BPF_RB_FORCE_WAKEUP: i32 = 2;

/// A process, as its own pid namespace numbers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) id: u32,
    /// The device and the inode number of the pid namespace.
    pub(super) namespace: (u32, u32),
}

/// What the programs distinguish, and where they write to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// The inode number of the network namespace.
    pub(super) namespace: u32,
    /// The index of the interface there.
    pub(super) interface: u32,
    /// This process, where it is known.
    pub(super) process: Option<Process>,
    /// The number of `UDP_CSUM`, the only reason for which the current task counts: a timer's drops hit whatever task they interrupt.
    pub(super) found_late: Option<i32>,
    /// The descriptor of the ring.
    pub(super) ring: i32,
    /// Its size in bytes.
    pub(super) ring_bytes: i32,
    /// The descriptor of an array of one value: a u64 for each reason by number, one for all reasons beyond, one for records that found
    /// no room, one for the next position, one for packets that found no room in the table.
    pub(super) counters: i32,
    /// How many reasons there are.
    pub(super) reasons: i32,
    /// Of so many packets of each reason there are records; further ones count as records that found no room.
    pub(super) most_records: Option<i32>,
    /// The number of `CPU_BACKLOG`, where there is one.
    pub(super) backlog: Option<i32>,
    /// Where packets are kept that are followed; `None` where only drops are of interest.
    pub(super) kept: Option<Kept>,
}

/// Descriptors of what following needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// A table from the address of an `sk_buff`, and from that of its buffer (`head`), to [`VALUE`].
    pub(super) packets: i32,
    /// The same of packets that are not followed, at addresses that are not in the first one.
    pub(super) others: i32,
    /// The array of [`CELL_POSITION`] and what follows it.
    pub(super) cells: i32,
}

impl Target {
    /// How many counters there are.
    pub(super) const fn counters_of(reasons: usize) -> usize {
        reasons + 4
    }

    /// Where the number of records that found no room stands, in bytes.
    fn lost(&self) -> i32 {
        8 * (self.reasons + 1)
    }

    /// The same for the next position.
    pub(super) fn positions(&self) -> i32 {
        8 * (self.reasons + 2)
    }

    /// The same for packets that found no room in the table.
    fn untracked(&self) -> i32 {
        8 * (self.reasons + 3)
    }
}

/// A program in the making. R6 holds its arguments.
pub(super) struct Writer<'a> {
    pub(super) layout: &'a Layout,
    pub(super) target: &'a Target,
    /// The part of the `sk_buff` that is copied to the stack: where it begins there and in the `sk_buff`, and how long it is.
    part: (i16, i32, i32),
    pub(super) out: Label,
    /// Where a record is counted that isn't written.
    pub(super) lost: Label,
}

impl<'a> Writer<'a> {
    /// # Errors
    /// [`Fault::Missing`] where the kernel's `sk_buff` is too large for the stack.
    pub(super) fn new(code: &mut Assembler, layout: &'a Layout, target: &'a Target) -> Result<Self, Fault> {
        let (start, length) = layout.skb.part();
        let room = i32::from(STACK_BYTES + RECORD);
        let part = i16::try_from(length).ok().filter(|length| i32::from(*length) <= room);
        let part = part.ok_or_else(|| Fault::Missing(format!("`sk_buff` is larger than {room} bytes")))?;
        Ok(Self { layout, target, part: (RECORD - part, start, length), out: code.label(), lost: code.label() })
    }

    /// Copies the part of the `sk_buff` at R7 that [`Self::member`] loads from.
    pub(super) fn copy_packet(&self, code: &mut Assembler) {
        let (base, start, length) = self.part;
        code.probe(base, length, R7, start);
    }

    /// Loads a member of the packet.
    pub(super) fn member(&self, code: &mut Assembler, size: Size, to: Register, offset: i32) {
        let (base, start, _) = self.part;
        // What stands on the stack is inside 512 bytes, which `new` has checked.
        code.load(size, to, R10, i16::try_from(offset - start).map_or(base, |offset| base + offset));
    }

    /// R1: the inode number of the `struct net` whose address stands on the stack; 0 where there is none.
    pub(super) fn inode(&self, code: &mut Assembler) {
        code.load(Size::Double, R3, R10, POINTER);
        code.probe(WORD, 4, R3, self.layout.net_inode);
        code.load(Size::Word, R1, R10, WORD);
    }

    /// Begins the record: no position, no length, no EtherType.
    pub(super) fn begin(code: &mut Assembler, kind: u16) {
        // Also what follows the kind.
        code.store_number(Size::Double, R10, RECORD + KIND, 0);
        code.store_number(Size::Half, R10, RECORD + KIND, i32::from(kind));
        code.store_number(Size::Double, R10, RECORD + POSITION, -1);
    }

    /// Stores the time.
    pub(super) fn stamp(code: &mut Assembler) {
        code.call(Helper::KtimeGetNs);
        code.store(Size::Double, R10, RECORD + TIME, R0);
    }

    /// R0: the address of what this CPU works on. Leaves where there is none, which never happens.
    pub(super) fn cell(&self, code: &mut Assembler, kept: Kept) {
        code.store_number(Size::Word, R10, WORD, 0);
        code.map(R1, kept.cells);
        code.copy(R2, R10);
        code.add_number(R2, i32::from(WORD));
        code.call(Helper::MapLookup);
        code.jump_if(R0, If::Equal, 0, self.out);
    }

    /// Goes to the label if the packet at R7 is the capture's that this CPU works on: a device on top of the interface (a bridge, a VLAN)
    /// has put its own index where the interface's was.
    pub(super) fn jump_if_current(&self, code: &mut Assembler, kept: Kept, current: Label) {
        let other = code.label();
        self.cell(code, kept);
        code.load(Size::Double, R1, R0, CELL_POSITION);
        code.jump_if(R1, If::Equal, 0, other);
        code.load(Size::Double, R1, R0, CELL_PACKET);
        code.jump_if_register(R1, If::Equal, R7, current);
        code.place(other);
    }

    fn lookup(code: &mut Assembler, table: i32) {
        code.map(R1, table);
        code.copy(R2, R10);
        code.add_number(R2, i32::from(KEY));
        code.call(Helper::MapLookup);
    }

    /// Puts the position of the packet at R7 into the record, if it is known, and there marks a clone; the address of its buffer stands
    /// at [`KEY`]. The record must have been begun with this kind.
    ///
    /// The buffer identifies most packets: clones share it. A packet that was given another buffer is known by its own address. Both are used again
    /// for other packets, so that of two answers the newer one holds.
    pub(super) fn recognise(code: &mut Assembler, kept: Kept, kind: u16) {
        let (unknown, by_address, done, newer) = (code.label(), code.label(), code.label(), code.label());
        code.store_number(Size::Double, R10, POINTER, 0);
        Self::lookup(code, kept.packets);
        code.jump_if(R0, If::Equal, 0, unknown);
        code.load(Size::Double, R1, R0, 8);
        code.store(Size::Double, R10, RECORD + POSITION, R1);
        code.load(Size::Double, R1, R0, 0);
        code.store(Size::Double, R10, POINTER, R1);
        code.load(Size::Double, R1, R0, 16);
        code.jump_if_register(R1, If::Equal, R7, done);
        code.store_number(Size::Half, R10, RECORD + KIND, i32::from(kind | kind::CLONE));
        code.jump(by_address);
        code.place(unknown);
        Self::lookup(code, kept.others);
        code.jump_if(R0, If::Equal, 0, by_address);
        code.load(Size::Double, R1, R0, 0);
        code.store(Size::Double, R10, POINTER, R1);
        code.place(by_address);
        code.store(Size::Double, R10, KEY, R7);
        Self::lookup(code, kept.packets);
        code.jump_if(R0, If::Equal, 0, done);
        // An entry for a buffer that once was at this address isn't meant.
        code.load(Size::Double, R1, R0, 16);
        code.jump_if_register(R1, If::NotEqual, R7, done);
        code.load(Size::Double, R1, R0, 0);
        code.load(Size::Double, R2, R10, POINTER);
        code.jump_if_register(R1, If::Greater, R2, newer);
        code.jump(done);
        code.place(newer);
        code.load(Size::Double, R1, R0, 8);
        code.store(Size::Double, R10, RECORD + POSITION, R1);
        code.store_number(Size::Half, R10, RECORD + KIND, i32::from(kind));
        code.place(done);
    }

    /// Remembers [`VALUE`] for the key in the register. R9: the position, or -1 of a packet that is not followed.
    ///
    /// Packets that are not followed make entries in a table of their own: in that of the others, those that another lab receives would push out what
    /// waits in a queue here.
    pub(super) fn remember(&self, code: &mut Assembler, kept: Kept, key: Register) {
        let (absent, other, done) = (code.label(), code.label(), code.label());
        code.store(Size::Double, R10, KEY, key);
        Self::overwrite(code, kept.packets, absent, done);
        code.place(absent);
        code.jump_if(R9, If::Equal, -1, other);
        Self::update(code, kept.packets);
        code.jump_if(R0, If::Equal, 0, done);
        self.count_one(code, self.target.untracked());
        code.jump(done);
        code.place(other);
        let absent = code.label();
        Self::overwrite(code, kept.others, absent, done);
        code.place(absent);
        Self::update(code, kept.others);
        code.place(done);
    }

    /// Writes [`VALUE`] to the entry for [`KEY`], and goes to `done`, or to `absent` where there is none. Addresses come again all the time, and to write
    /// to what is there already takes a fraction of the time that an update takes.
    fn overwrite(code: &mut Assembler, table: i32, absent: Label, done: Label) {
        Self::lookup(code, table);
        code.jump_if(R0, If::Equal, 0, absent);
        for at in [0, 8, 16] {
            code.load(Size::Double, R1, R10, VALUE + at);
            code.store(Size::Double, R0, at, R1);
        }
        code.jump(done);
    }

    /// Makes an entry; R0 is 0 where that is done.
    fn update(code: &mut Assembler, table: i32) {
        code.map(R1, table);
        code.copy(R2, R10);
        code.add_number(R2, i32::from(KEY));
        code.copy(R3, R10);
        code.add_number(R3, i32::from(VALUE));
        code.set(R4, 0);
        code.call(Helper::MapUpdate);
    }

    /// Puts the packet's EtherType, length and first bytes into the record, the bytes behind its first `fixed` ones. R8: where the
    /// network header stands, counted from the head. Leaves R9: how many bytes it put there.
    pub(super) fn packet(&self, code: &mut Assembler, fixed: i16) {
        let skb = &self.layout.skb;
        let (nothing, lengths, copy, done) = (code.label(), code.label(), code.label(), code.label());
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
        code.probe(RECORD + fixed, i32::from(PACKET_BYTES), R3, 0);
        code.jump_if(R0, If::Equal, 0, done);
        code.place(nothing);
        code.set(R9, 0);
        code.place(done);
    }

    /// Puts the first `fixed` bytes of the record into the ring, and R9 bytes more where it holds a packet. Goes on where there was no
    /// room.
    pub(super) fn output(&self, code: &mut Assembler, fixed: i16, packet: bool) {
        self.wake_up(code);
        code.map(R1, self.target.ring);
        code.copy(R2, R10);
        code.add_number(R2, i32::from(RECORD));
        if packet {
            code.copy(R3, R9);
            code.add_number(R3, i32::from(fixed));
        } else {
            code.set(R3, i32::from(fixed));
        }
        code.call(Helper::RingbufOutput);
        code.jump_if(R0, If::Equal, 0, self.out);
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

    fn count_one(&self, code: &mut Assembler, counter: i32) {
        code.map_value(R1, self.target.counters, counter);
        code.set(R2, 1);
        code.atomic_add(R1, R2);
    }

    /// Ends a program that writes no record; `None` where a jump leads nowhere.
    pub(super) fn finish(&self, mut code: Assembler) -> Option<Vec<Instruction>> {
        code.place(self.out);
        code.exit();
        code.finish()
    }

    /// Ends a program, which must just have done [`Self::output`]; `None` where a jump leads nowhere.
    pub(super) fn finish_output(&self, mut code: Assembler) -> Option<Vec<Instruction>> {
        code.place(self.lost);
        self.count_one(&mut code, self.target.lost());
        self.finish(code)
    }
}
