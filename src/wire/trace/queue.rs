//! The programs that the kernel runs when a datagram was put into a socket's queue, and when one was read: the raw tracepoints
//! `sk_data_ready`, whose argument is the socket, and `sock_recv_length`: socket, result and flags (include/trace/events/sock.h). Start
//! at [`queued`].

use super::assembler::{Assembler, If, Instruction, Register, Size};
use super::btf::Fault;
use super::layout::{FollowingLayout, Layout};
use super::writer::{
    CELL_BATCHED, CELL_PACKET, CELL_POSITION, CELL_SOCKET, DROPPED_BYTES, KEY, KIND, Kept, PACKET_BYTES, POINTER, PORT,
    POSITION, QUEUE, QUEUED_BYTES, RECORD, Target, WORD, Writer, kind,
};

use Register::{R0, R1, R6, R7, R8, R9, R10};

const AF_INET: i32 = libc::AF_INET;
const AF_INET6: i32 = libc::AF_INET6;
const UDP: i32 = libc::IPPROTO_UDP;
const UDP_LITE: i32 = libc::IPPROTO_UDPLITE;
/// Where on the stack a part of a socket is put.
const PART: i16 = RECORD + DROPPED_BYTES;
/// The result of a read that failed, as an unsigned number of 32 bits, is above.
const MOST_RESULT: i32 = i32::MAX;

/// The program for `sk_data_ready`.
///
/// The packet is the one that this CPU works on. In a poll that handles packets in batches, and outside of a poll (where a task gives its
/// verdict on a packet), it is the last one of the queue, if a reader hasn't taken it yet.
///
/// # Errors
/// [`Fault::Missing`] where the kernel's `sk_buff` is too large for the stack.
pub(super) fn queued(
    layout: &Layout,
    following: &FollowingLayout,
    target: &Target,
    kept: Kept,
) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Writer::new(&mut code, layout, target)?;
    let (last, output) = (code.label(), code.label());
    code.copy(R6, R1);
    Writer::begin(&mut code, kind::QUEUED);
    leave_unless_udp(&mut code, &writer, following)?;
    code.store(Size::Double, R10, RECORD + QUEUE, R7);
    Writer::stamp(&mut code);
    // R8: what this CPU works on. R9: the socket.
    writer.cell(&mut code, kept);
    code.copy(R8, R0);
    code.copy(R9, R7);
    // 0 outside of a poll.
    code.load(Size::Double, R1, R8, CELL_PACKET);
    code.jump_if(R1, If::Equal, 0, last);
    code.load(Size::Double, R1, R8, CELL_BATCHED);
    code.jump_if(R1, If::NotEqual, 0, last);
    // No packet comes into a queue twice: this one was left to this CPU by another one.
    code.load(Size::Double, R1, R8, CELL_SOCKET);
    code.jump_if_register(R1, If::Equal, R9, output);
    code.store(Size::Double, R8, CELL_SOCKET, R9);
    code.load(Size::Double, R1, R8, CELL_POSITION);
    code.jump_if(R1, If::Equal, 0, output);
    code.add_number(R1, -1);
    code.store(Size::Double, R10, RECORD + POSITION, R1);
    code.jump(output);
    code.place(last);
    // R7: the last packet of the queue, or the queue, which is no packet.
    code.probe(POINTER, 8, R9, following.queue_last);
    code.load(Size::Double, R7, R10, POINTER);
    code.add_number(R9, following.queue);
    code.jump_if_register(R7, If::Equal, R9, output);
    code.probe(WORD, 4, R7, layout.skb.arrived);
    code.load(Size::Word, R1, R10, WORD);
    code.jump_if(R1, If::NotEqual32, target.interface.cast_signed(), output);
    code.probe(KEY, 8, R7, layout.skb.head);
    Writer::recognise(&mut code, kept, kind::QUEUED);
    code.store_number(Size::Half, R10, RECORD + KIND, i32::from(kind::QUEUED));
    code.place(output);
    writer.output(&mut code, QUEUED_BYTES, false);
    Ok(writer.finish_output(code))
}

/// The program for `sock_recv_length`.
///
/// # Errors
/// As [`queued`].
pub(super) fn read(
    layout: &Layout,
    following: &FollowingLayout,
    target: &Target,
) -> Result<Option<Vec<Instruction>>, Fault> {
    let mut code = Assembler::default();
    let writer = Writer::new(&mut code, layout, target)?;
    code.copy(R6, R1);
    code.load(Size::Double, R1, R6, 8);
    code.copy32(R1, R1);
    code.jump_if(R1, If::Greater, MOST_RESULT, writer.out);
    code.load(Size::Double, R1, R6, 16);
    code.jump_if(R1, If::AnyBit, libc::MSG_PEEK | libc::MSG_ERRQUEUE, writer.out);
    Writer::begin(&mut code, kind::READ);
    leave_unless_udp(&mut code, &writer, following)?;
    code.store(Size::Double, R10, RECORD + QUEUE, R7);
    Writer::stamp(&mut code);
    writer.output(&mut code, QUEUED_BYTES, false);
    Ok(writer.finish_output(code))
}

/// Leaves R7: the socket, which is one for UDP datagrams in the namespace, and its port in the record.
///
/// # Errors
/// [`Fault::Missing`] where the kernel's `sock` is laid out in too wide a way.
fn leave_unless_udp(code: &mut Assembler, writer: &Writer<'_>, following: &FollowingLayout) -> Result<(), Fault> {
    let (protocol, family) = (code.label(), code.label());
    let net = writer.layout.socket_net;
    code.load(Size::Double, R7, R6, 0);
    let part = Part::copy(code, following.protocol_part())?;
    code.load(Size::Half, R1, R10, part.at(following.socket_protocol));
    code.jump_if(R1, If::Equal, UDP, protocol);
    code.jump_if(R1, If::NotEqual, UDP_LITE, writer.out);
    code.place(protocol);
    // Raw sockets for the protocol aren't meant.
    code.load(Size::Half, R1, R10, part.at(following.socket_type));
    code.jump_if(R1, If::NotEqual, libc::SOCK_DGRAM, writer.out);
    let part = Part::copy(code, following.address_part(net))?;
    code.load(Size::Half, R1, R10, part.at(following.socket_family));
    code.jump_if(R1, If::Equal, AF_INET, family);
    code.jump_if(R1, If::NotEqual, AF_INET6, writer.out);
    code.place(family);
    code.load(Size::Half, R1, R10, part.at(following.socket_port));
    code.store(Size::Half, R10, RECORD + PORT, R1);
    code.load(Size::Double, R1, R10, part.at(net));
    code.store(Size::Double, R10, POINTER, R1);
    writer.inode(code);
    code.jump_if(R1, If::NotEqual32, writer.target.namespace.cast_signed(), writer.out);
    Ok(())
}

/// A part of the socket at R7, on the stack where other programs' records hold packets.
struct Part(i32);

impl Part {
    /// Copies it: where it begins in the socket, and how long it is.
    fn copy(code: &mut Assembler, (start, length): (i32, i32)) -> Result<Self, Fault> {
        if length > i32::from(PACKET_BYTES) {
            return Err(Fault::Missing(format!("what is looked at of `sock` spans {length} bytes")));
        }
        code.probe(PART, length, R7, start);
        Ok(Self(start))
    }

    /// Where a member stands on the stack.
    fn at(&self, member: i32) -> i16 {
        // `copy` has checked that this is inside.
        i16::try_from(member - self.0).map_or(PART, |offset| PART + offset)
    }
}
