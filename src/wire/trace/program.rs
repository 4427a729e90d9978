//! The programs that the kernel runs for each packet that it drops or consumes.
//!
//! They are attached to the raw tracepoints `kfree_skb` (include/trace/events/skb.h), whose arguments are the packet, the location, the
//! reason and, since Linux 6.11, the socket that was to have it, and `consume_skb`: the packet and, since Linux 6.3, the location. Start
//! at [`drops`].

use super::assembler::{Assembler, Helper, If, Instruction, Label, Register, Size};
use super::btf::Fault;
use super::layout::{FollowingLayout, Layout};
use super::writer::{
    CONSUMED_BYTES, DROPPED_BYTES, KEY, Kept, LOCATION, POINTER, POSITION, Process, REASON, RECORD, SOCKET, Target,
    WORD, Writer, kind,
};

use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};

/// The program for `kfree_skb`.
///
/// A packet is looked at if it came in through the interface (`skb_iif`, which stays set for what waits in a socket's queue), or was
/// about to: the backlog of a CPU is full before `skb_iif` is set. If it isn't known from its arrival, its namespace is that of the socket
/// that was to have it, else of its device, else, for a datagram whose checksum is found wrong by recvmsg(2), of the current task.
/// There, this process counts as inside: it may read sockets of the namespace from outside.
///
/// # Errors
/// [`Fault::Missing`] where the kernel's `sk_buff` is too large for the stack.
pub(super) fn drops(layout: &Layout, target: &Target) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Drops(Writer::new(&mut code, layout, target)?);
    // R6: the arguments. R7: the packet. R9: the reason.
    code.copy(R6, R1);
    code.load(Size::Double, R7, R6, 0);
    code.load(Size::Double, R9, R6, 16);
    code.copy32(R9, R9);
    writer.0.copy_packet(&mut code);
    Writer::begin(&mut code, kind::DROPPED);
    let known = code.label();
    writer.leave_unless_arrived(&mut code, known);
    writer.leave_unless_in_namespace(&mut code);
    if target.kept.is_some() {
        code.place(known);
    }
    writer.count(&mut code);
    writer.record(&mut code);
    Ok(writer.0.finish_output(code))
}

/// The program for `consume_skb`: what is known from its arrival.
///
/// # Errors
/// As [`drops`].
pub(super) fn consumed(
    layout: &Layout,
    following: &FollowingLayout,
    target: &Target,
    kept: Kept,
) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Writer::new(&mut code, layout, target)?;
    code.copy(R6, R1);
    code.load(Size::Double, R7, R6, 0);
    code.probe(WORD, 4, R7, layout.skb.arrived);
    code.load(Size::Word, R1, R10, WORD);
    let arrived = code.label();
    code.jump_if(R1, If::Equal32, target.interface.cast_signed(), arrived);
    writer.jump_if_current(&mut code, kept, arrived);
    code.jump(writer.out);
    code.place(arrived);
    code.probe(KEY, 8, R7, layout.skb.head);
    Writer::begin(&mut code, kind::CONSUMED);
    Writer::recognise(&mut code, kept, kind::CONSUMED);
    code.load(Size::Double, R1, R10, RECORD + POSITION);
    code.jump_if(R1, If::Equal, -1, writer.out);
    Writer::stamp(&mut code);
    code.set(R1, 0);
    if following.location {
        code.load(Size::Double, R1, R6, 8);
    }
    code.store(Size::Double, R10, RECORD + LOCATION, R1);
    writer.output(&mut code, CONSUMED_BYTES, false);
    Ok(writer.finish_output(code))
}

struct Drops<'a>(Writer<'a>);

impl Drops<'_> {
    /// Leaves R8: where the network header stands, counted from the head. Goes to `known` with the position of a packet that is known.
    fn leave_unless_arrived(&self, code: &mut Assembler, known: Label) {
        let Self(writer) = self;
        let skb = &writer.layout.skb;
        let (arrived, on) = (code.label(), code.label());
        let interface = writer.target.interface.cast_signed();
        writer.member(code, Size::Word, R1, skb.arrived);
        code.jump_if(R1, If::Equal32, interface, arrived);
        if let Some(kept) = writer.target.kept {
            writer.jump_if_current(code, kept, arrived);
            writer.member(code, Size::Word, R1, skb.arrived);
        }
        match writer.target.backlog {
            None => code.jump(writer.out),
            Some(backlog) => {
                code.jump_if(R1, If::NotEqual, 0, writer.out);
                code.jump_if(R9, If::NotEqual, backlog, writer.out);
                writer.member(code, Size::Double, R3, skb.device);
                code.probe(WORD, 4, R3, writer.layout.device_index);
                code.load(Size::Word, R1, R10, WORD);
                code.jump_if(R1, If::NotEqual32, interface, writer.out);
                // The network header isn't set yet, but the Ethernet header is already pulled.
                writer.member(code, Size::Double, R8, skb.bytes);
                writer.member(code, Size::Double, R1, skb.head);
                code.subtract(R8, R1);
                code.jump(on);
            }
        }
        code.place(arrived);
        writer.member(code, Size::Half, R8, skb.network);
        if let Some(kept) = writer.target.kept {
            writer.member(code, Size::Double, R1, skb.head);
            code.store(Size::Double, R10, KEY, R1);
            Writer::recognise(code, kept, kind::DROPPED);
            code.load(Size::Double, R1, R10, RECORD + POSITION);
            code.jump_if(R1, If::Equal, -1, on);
            code.jump(known);
        }
        code.place(on);
    }

    fn leave_unless_in_namespace(&self, code: &mut Assembler) {
        let Self(writer) = self;
        let (no_socket, net, known, inside) = (code.label(), code.label(), code.label(), code.label());
        let namespace = writer.target.namespace.cast_signed();
        if writer.layout.socket {
            code.load(Size::Double, R3, R6, 24);
            code.jump_if(R3, If::Equal, 0, no_socket);
            code.probe(POINTER, 8, R3, writer.layout.socket_net);
            code.jump(net);
        }
        code.place(no_socket);
        // A datagram in a queue has other things where the device stood. Reading there fails, and gives 0.
        writer.member(code, Size::Double, R3, writer.layout.skb.device);
        code.probe(POINTER, 8, R3, writer.layout.device_net);
        code.place(net);
        writer.inode(code);
        code.jump_if(R1, If::NotEqual, 0, known);
        if let Some(reason) = writer.target.found_late {
            code.jump_if(R9, If::NotEqual, reason, writer.out);
            self.current_task(code, inside);
        }
        code.jump(writer.out);
        code.place(known);
        code.jump_if(R1, If::NotEqual32, namespace, writer.out);
        code.place(inside);
    }

    /// Goes to `inside` if the current task is in the namespace, or is this process; else goes on.
    fn current_task(&self, code: &mut Assembler, inside: Label) {
        let Self(writer) = self;
        let namespace = writer.target.namespace.cast_signed();
        code.call(Helper::GetCurrentTask);
        code.probe(POINTER, 8, R0, writer.layout.task_namespaces);
        code.load(Size::Double, R3, R10, POINTER);
        code.probe(POINTER, 8, R3, writer.layout.namespaces_net);
        writer.inode(code);
        code.jump_if(R1, If::Equal32, namespace, inside);
        if let Some(Process { id, namespace: (device, inode) }) = writer.target.process {
            code.store_number(Size::Double, R10, POINTER, 0);
            code.set32(R1, device);
            code.set32(R2, inode);
            code.copy(R3, R10);
            code.add_number(R3, i32::from(POINTER));
            code.set(R4, 8);
            code.call(Helper::GetNsCurrentPidTgid);
            code.jump_if(R0, If::NotEqual, 0, writer.out);
            code.load(Size::Word, R1, R10, POINTER + 4);
            code.jump_if(R1, If::Equal32, id.cast_signed(), inside);
        }
    }

    fn count(&self, code: &mut Assembler) {
        let Self(writer) = self;
        let (beyond, index) = (code.label(), code.label());
        code.copy(R2, R9);
        code.jump_if(R2, If::Greater, writer.target.reasons - 1, beyond);
        code.jump(index);
        code.place(beyond);
        code.set(R2, writer.target.reasons);
        code.place(index);
        code.shift_left(R2, 3);
        code.map_value(R1, writer.target.counters, 0);
        code.add(R1, R2);
        code.load(Size::Double, R3, R1, 0);
        code.set(R2, 1);
        code.atomic_add(R1, R2);
        if let Some(most) = writer.target.most_records {
            code.jump_if(R3, If::Greater, most - 1, writer.lost);
        }
    }

    fn record(&self, code: &mut Assembler) {
        let Self(writer) = self;
        Writer::stamp(code);
        code.load(Size::Double, R1, R6, 8);
        code.store(Size::Double, R10, RECORD + LOCATION, R1);
        code.set(R1, 0);
        if writer.layout.socket {
            code.load(Size::Double, R1, R6, 24);
        }
        code.store(Size::Double, R10, RECORD + SOCKET, R1);
        code.store_number(Size::Double, R10, RECORD + REASON, 0);
        code.store(Size::Word, R10, RECORD + REASON, R9);
        writer.packet(code, DROPPED_BYTES);
        writer.output(code, DROPPED_BYTES, true);
    }
}
