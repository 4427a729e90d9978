//! The programs that the kernel runs for each packet that arrives, and after each poll of a device: the raw tracepoints
//! `netif_receive_skb` (include/trace/events/net.h), whose argument is the packet, `napi_gro_receive_entry` and `napi_poll`. Start at [`arrivals`].

use super::assembler::{Assembler, If, Instruction, Register, Size};
use super::btf::Fault;
use super::layout::{FollowingLayout, Layout};
use super::writer::{
    ARRIVED_BYTES, CELL_BATCHED, CELL_PACKET, CELL_POSITION, CELL_SOCKET, KEY, Kept, POINTER, POSITION, RECORD, Target,
    VALUE, WORD, Writer, kind,
};

use Register::{R0, R1, R3, R6, R7, R8, R9, R10};

/// The program for `netif_receive_skb`. It gives the packet its position, remembers its addresses, and notes that this CPU works on it
/// now: the protocols follow at once. For every other packet it notes that it isn't one of the capture's.
///
/// # Errors
/// [`Fault::Missing`] where the kernel's `sk_buff` is too large for the stack.
pub(super) fn arrivals(
    layout: &Layout,
    following: &FollowingLayout,
    target: &Target,
    kept: Kept,
) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Writer::new(&mut code, layout, target)?;
    let (foreign, elsewhere) = (code.label(), code.label());
    code.copy(R6, R1);
    code.load(Size::Double, R7, R6, 0);
    // R8: what this CPU works on.
    writer.cell(&mut code, kept);
    code.copy(R8, R0);
    code.store_number(Size::Double, R8, CELL_POSITION, 0);
    code.store(Size::Double, R8, CELL_PACKET, R7);
    code.store_number(Size::Double, R8, CELL_SOCKET, 0);
    code.probe(POINTER, 8, R7, layout.skb.device);
    code.load(Size::Double, R3, R10, POINTER);
    code.probe(WORD, 4, R3, layout.device_index);
    code.load(Size::Word, R1, R10, WORD);
    code.jump_if(R1, If::NotEqual32, target.interface.cast_signed(), elsewhere);

    // From here on it would be taken for one that is known: its buffer may be that of an earlier one.
    Writer::begin(&mut code, kind::ARRIVED);
    Writer::stamp(&mut code);
    code.store(Size::Double, R10, VALUE, R0);
    code.store(Size::Double, R10, VALUE + 16, R7);
    writer.copy_packet(&mut code);
    // R9: the position.
    code.set(R9, -1);
    code.load(Size::Double, R3, R10, POINTER);
    code.probe(POINTER, 8, R3, layout.device_net);
    writer.inode(&mut code);
    code.jump_if(R1, If::NotEqual32, target.namespace.cast_signed(), foreign);
    code.probe(POINTER, 8, R7, following.route);
    code.load(Size::Double, R1, R10, POINTER);
    code.jump_if(R1, If::NotEqual, 0, foreign);
    code.map_value(R1, target.counters, target.positions());
    code.set(R9, 1);
    code.fetch_add(R1, R9);
    code.copy(R1, R9);
    code.add_number(R1, 1);
    code.store(Size::Double, R8, CELL_POSITION, R1);
    code.place(foreign);
    code.store(Size::Double, R10, VALUE + 8, R9);
    code.store(Size::Double, R10, RECORD + POSITION, R9);
    writer.remember(&mut code, kept, R7);
    writer.member(&mut code, Size::Double, R1, layout.skb.head);
    writer.remember(&mut code, kept, R1);
    code.jump_if(R9, If::Equal, -1, writer.out);

    // The network header isn't set yet, but the Ethernet header is already pulled.
    writer.member(&mut code, Size::Double, R8, layout.skb.bytes);
    writer.member(&mut code, Size::Double, R1, layout.skb.head);
    code.subtract(R8, R1);
    writer.packet(&mut code, ARRIVED_BYTES);
    writer.output(&mut code, ARRIVED_BYTES, true);
    code.jump(writer.lost);

    // A device on top of the interface, such as a bridge, receives the same packet once more.
    code.place(elsewhere);
    code.probe(WORD, 4, R7, layout.skb.arrived);
    code.load(Size::Word, R1, R10, WORD);
    code.jump_if(R1, If::NotEqual32, target.interface.cast_signed(), writer.out);
    Writer::begin(&mut code, kind::ARRIVED);
    code.probe(KEY, 8, R7, layout.skb.head);
    Writer::recognise(&mut code, kept, kind::ARRIVED);
    code.load(Size::Double, R1, R10, RECORD + POSITION);
    code.jump_if(R1, If::Equal, -1, writer.out);
    code.add_number(R1, 1);
    code.store(Size::Double, R8, CELL_POSITION, R1);
    code.jump(writer.out);
    Ok(writer.finish_output(code))
}

/// The program for `napi_poll`: the CPU works on no packet any more. What is put into a queue later is put there by a task.
///
/// # Errors
/// As [`arrivals`].
pub(super) fn polled(layout: &Layout, target: &Target, kept: Kept) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Writer::new(&mut code, layout, target)?;
    writer.cell(&mut code, kept);
    for member in [CELL_POSITION, CELL_PACKET, CELL_SOCKET, CELL_BATCHED] {
        code.store_number(Size::Double, R0, member, 0);
    }
    Ok(writer.finish(code))
}

/// The program for `napi_gro_receive_entry`: this poll hands packets on in batches (veth with GRO, or with a program for XDP).
///
/// # Errors
/// As [`arrivals`].
pub(super) fn batched(layout: &Layout, target: &Target, kept: Kept) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Writer::new(&mut code, layout, target)?;
    writer.cell(&mut code, kept);
    code.store_number(Size::Double, R0, CELL_BATCHED, 1);
    Ok(writer.finish(code))
}
