//! The application under test, which writes down what it read: this program is it when its first argument is [`VERB`].
//!
//! Each datagram of the capture that it reads adds a line with its number to the file of the truth, so that the file is right however
//! the application ends. Start at [`main`].
#![expect(unsafe_code, reason = "socket options that no crate of ours wraps")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, recv, setsockopt, socket, sockopt,
};

use crate::frames::{MARK, PORT, RECEIVER};

/// The first argument; the file of the truth and what the application does come next.
pub(crate) const VERB: &str = "--application";

/// The multicast group that the capture goes to.
pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

/// The port on the loopback that a relay sends to.
pub(crate) const RELAYED: u16 = 9_999;

/// Of `linux/udp.h`.
const UDP_SEGMENT: i32 = 103;
/// More than any case sends.
const LARGE: usize = 4 << 20;
/// Room for a few datagrams.
const SMALL: usize = 2_000;

/// Does what the arguments say until a signal ends it.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let [file, behaviour] = words.as_slice() else {
        eprintln!("usage: {VERB} FILE BEHAVIOUR");
        return ExitCode::FAILURE;
    };
    match File::options().append(true).create(true).open(file).and_then(|truth| behave(behaviour, &truth)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{behaviour}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the number of a datagram of the capture down.
fn note(truth: &File, payload: &[u8]) -> io::Result<()> {
    let Some(number) = payload.strip_prefix(MARK).and_then(|rest| rest.first_chunk()) else { return Ok(()) };
    // One write, so that threads don't mix their lines.
    (&*truth).write_all(format!("{}\n", u32::from_be_bytes(*number)).as_bytes())
}

fn read(truth: &File, socket: &UdpSocket, count: usize) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    for _ in 0..count {
        let length = socket.recv(&mut buffer)?;
        note(truth, &buffer[..length])?;
    }
    Ok(())
}

/// Reads, and sends each datagram back, or of so many the first.
fn answer(truth: &File, socket: &UdpSocket, step: usize) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    for count in 0.. {
        let (length, from) = socket.recv_from(&mut buffer)?;
        note(truth, &buffer[..length])?;
        if count % step == 0 {
            socket.send_to(&buffer[..length], from)?;
        }
    }
    Ok(())
}

fn read_on(truth: &File, socket: &UdpSocket) -> io::Result<()> {
    read(truth, socket, usize::MAX)
}

/// How a socket is opened.
#[derive(Clone, Copy)]
struct Opening {
    buffer: usize,
    share: bool,
    port: u16,
    v6: bool,
}

const PLAIN: Opening = Opening { buffer: LARGE, share: false, port: PORT, v6: false };

fn open(opening: Opening) -> io::Result<UdpSocket> {
    let Opening { buffer, share, port, v6 } = opening;
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let unbound: OwnedFd = socket(family, SockType::Datagram, SockFlag::empty(), None)?;
    setsockopt(&unbound, sockopt::ReuseAddr, &share)?;
    setsockopt(&unbound, sockopt::RcvBuf, &buffer)?;
    let any = if v6 { "[::]" } else { "0.0.0.0" };
    let address: SocketAddr = format!("{any}:{port}").parse().map_err(io::Error::other)?;
    bind(unbound.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(unbound))
}

fn set(socket: &UdpSocket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let (place, length) = (std::ptr::from_ref(&value).cast(), size_of::<i32>());
    let length = libc::socklen_t::try_from(length).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `value`, which is there until the call returns.
    let status = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, place, length) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends to `to` again and again, from a thread.
fn chatter(to: SocketAddr, bytes: usize, pause: Duration, segments: i32) -> io::Result<()> {
    let own = UdpSocket::bind("0.0.0.0:0")?;
    if segments > 0 {
        set(&own, libc::IPPROTO_UDP, UDP_SEGMENT, segments)?;
    }
    spawn(move || {
        loop {
            // To a closed port every other call fails.
            let _ = own.send_to(&vec![b'o'; bytes], to);
            sleep(pause);
        }
    });
    Ok(())
}

/// Reads what the application sends itself, from a thread.
fn drain(socket: UdpSocket) {
    spawn(move || {
        let mut buffer = vec![0; 65_536];
        while socket.recv(&mut buffer).is_ok() {}
    });
}

/// Reads, and sends each datagram back three times by one call, which the kernel splits.
fn answer_in_segments(truth: &File, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        note(truth, &buffer[..length])?;
        set(socket, libc::IPPROTO_UDP, UDP_SEGMENT, i32::try_from(length).map_err(io::Error::other)?)?;
        socket.send_to(&buffer[..length].repeat(3), from)?;
    }
}

/// Runs a shell command once some datagrams came.
fn then(truth: &File, socket: &UdpSocket, command: &str) -> io::Result<()> {
    read(truth, socket, 5)?;
    Command::new("sh").args(["-c", command]).status().map(|_| ())
}

fn join(socket: &UdpSocket, group: Ipv4Addr) -> io::Result<()> {
    socket.join_multicast_v4(&group, &RECEIVER)
}

/// A packet socket on the receiver's interface: its datagrams are noted.
fn sniff(truth: &File, behaviour: &str) -> io::Result<()> {
    let every: libc::c_int = libc::ETH_P_ALL.to_be() >> 16;
    // Frames that are sent before its packet socket is there are missing.
    sleep(Duration::from_millis(200));
    // SAFETY: the call takes three numbers and returns a descriptor or -1.
    let number = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nothing else's.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    if behaviour == "sniffs-even-ones" {
        // Of a datagram's number, the last byte: behind Ethernet, IPv4 and UDP headers and the mark.
        let last_byte = u32::try_from(14 + 20 + 8 + MARK.len() + 3).map_err(io::Error::other)?;
        let of = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut program = [of(0x30, 0, 0, last_byte), of(0x45, 0, 1, 1), of(6, 0, 0, 0), of(6, 0, 0, 0xffff)];
        let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        let length = libc::socklen_t::try_from(size_of_val(&filter)).map_err(io::Error::other)?;
        let place = std::ptr::from_ref(&filter).cast();
        // SAFETY: the kernel reads `filter` and the 4 instructions that it points to, which are there until the call returns.
        let status =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, place, length) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if behaviour == "sniffs-late" {
        setsockopt(&socket, sockopt::RcvBuf, &SMALL)?;
    }
    let interface = nix::net::if_::if_nametoindex("rx0")?;
    // SAFETY: sockaddr_ll is plain integers and byte arrays, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(every).map_err(io::Error::other)?;
    address.sll_ifindex = i32::try_from(interface).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `length` bytes of `address`, which is there until the call returns.
    let status = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    if behaviour == "sniffs-late" {
        recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_PEEK)?;
        sleep(Duration::from_millis(40));
    }
    let mut buffer = vec![0; 65_536];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        note(truth, buffer.get(42..length).unwrap_or_default())?;
    }
}

fn behave(behaviour: &str, truth: &File) -> io::Result<()> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let shared = Opening { share: true, ..PLAIN };
    match behaviour {
        "sniffs" | "sniffs-even-ones" | "sniffs-late" => return sniff(truth, behaviour),
        "reads-v6" => return read_on(truth, &open(Opening { v6: true, ..PLAIN })?),
        "listens-elsewhere" => return read_on(truth, &open(Opening { port: 9, ..PLAIN })?),
        // What goes through it is noted by the one that reads in the end, which is the application of the run.
        "relays" | "relays-ten" => {
            let (from, count) = (open(PLAIN)?, if behaviour == "relays" { usize::MAX } else { 10 });
            let mut buffer = vec![0; 65_536];
            for _ in 0..count {
                let length = from.recv(&mut buffer)?;
                from.send_to(&buffer[..length], local(RELAYED))?;
            }
            return Ok(());
        }
        "reads-a-group" => {
            let group = open(shared)?;
            join(&group, GROUP)?;
            return read_on(truth, &group);
        }
        "joins-late" => {
            let group = open(shared)?;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(300) {}
            join(&group, GROUP)?;
            return read_on(truth, &group);
        }
        "hoards" => {
            let socket = open(PLAIN)?;
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20))?;
            sleep(Duration::from_hours(1));
        }
        "reads-fifteen" => {
            let socket = open(PLAIN)?;
            read(truth, &socket, 15)?;
            sleep(Duration::from_hours(1));
        }
        "reads-what-is-relayed" => return read_on(truth, &open(Opening { port: RELAYED, ..PLAIN })?),
        "reads-the-next-port" => return read_on(truth, &open(Opening { port: PORT + 1, ..PLAIN })?),
        "reads-on-loopback" => {
            let wrong = UdpSocket::bind(local(PORT))?;
            return read_on(truth, &wrong);
        }
        "small-buffer" | "small-buffer-v6" => {
            let small = open(Opening { buffer: SMALL, v6: behaviour.ends_with("v6"), ..PLAIN })?;
            read(truth, &small, 1)?;
            sleep(Duration::from_millis(400));
            return read_on(truth, &small);
        }
        "two-on-a-group-each-reads-half" => {
            let (one, other) = (open(shared)?, open(shared)?);
            join(&one, GROUP)?;
            join(&other, GROUP)?;
            read(truth, &one, 20)?;
            read(truth, &other, 20)?;
            sleep(Duration::from_millis(200));
            return Ok(());
        }
        "two-on-a-group-one-idle" => {
            let (one, idle) = (open(shared)?, open(Opening { buffer: SMALL, ..shared })?);
            join(&one, GROUP)?;
            join(&idle, GROUP)?;
            return read_on(truth, &one);
        }
        "connected-steals" => {
            let (any, connected) = (open(shared)?, open(shared)?);
            connected.connect("192.0.2.1:1003")?;
            return read_on(truth, &any);
        }
        "closes-with-data-queued" => {
            let first = open(PLAIN)?;
            read(truth, &first, 10)?;
            sleep(Duration::from_millis(50));
            drop(first);
            sleep(Duration::from_millis(20));
            return read_on(truth, &open(PLAIN)?);
        }
        _ => {}
    }
    with_one_socket(behaviour, truth)
}

/// Behaviours of an application with one socket for the capture's datagrams.
fn with_one_socket(behaviour: &str, truth: &File) -> io::Result<()> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let pause = Duration::from_millis(3);
    let shared = Opening { share: true, ..PLAIN };
    let socket = open(PLAIN)?;
    match behaviour {
        "reads" => {}
        "answers" => return answer(truth, &socket, 1),
        "answers-in-segments" => return answer_in_segments(truth, &socket),
        "answers-every-other" => return answer(truth, &socket, 2),
        "sends-elsewhere" => chatter(SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 9)), 20, pause, 0)?,
        "reads-late" => sleep(Duration::from_millis(2_500)),
        "peeks" => {
            for _ in 0..20 {
                recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_PEEK)?;
            }
            sleep(Duration::from_hours(1));
        }
        "sends-to-its-own-port" => chatter(local(PORT), 20, pause, 0)?,
        "sends-to-another-port" => {
            drain(open(Opening { port: 9_999, ..PLAIN })?);
            chatter(local(9_999), 20, pause, 0)?;
        }
        "drops-its-own" => {
            std::mem::forget(open(Opening { port: 9_999, buffer: SMALL, ..PLAIN })?);
            chatter(local(9_999), 900, Duration::from_millis(1), 0)?;
        }
        "sends-segments" => {
            drain(open(Opening { port: 9_999, ..PLAIN })?);
            chatter(local(9_999), 1_000, pause, 100)?;
        }
        "sends-to-closed-ports" => chatter(local(8_125), 20, pause, 0)?,
        "hears-its-own-multicast" | "hears-its-own-multicast-on-loopback" => {
            let group = Ipv4Addr::new(224, 0, 0, 251);
            let own = open(Opening { port: 5_353, ..shared })?;
            join(&own, group)?;
            drain(own);
            chatter(SocketAddr::from((group, 5_353)), 20, pause, 0)?;
        }
        "talks-tcp-to-itself" => {
            let listener = TcpListener::bind(local(7_777))?;
            let mut stream = TcpStream::connect(local(7_777))?;
            let (mut accepted, _) = listener.accept()?;
            spawn(move || io::copy(&mut accepted, &mut io::sink()));
            spawn(move || {
                while stream.write_all(&[b'x'; 500]).is_ok() {
                    sleep(Duration::from_millis(1));
                }
            });
        }
        "encapsulates" => set(&socket, libc::IPPROTO_UDP, 100, 2)?,
        "ends-early" => return read(truth, &socket, 10),
        "loses-its-address" => then(truth, &socket, "ip addr del 192.0.2.20/24 dev rx0")?,
        "loads-a-ruleset" => then(
            truth,
            &socket,
            "nft add table inet z; nft add chain inet z i '{ type filter hook input priority 0; }'; nft add rule inet z i udp dport 4739 drop",
        )?,
        "loses-its-interface" => then(truth, &socket, "ip link del rx0")?,
        "filters-by-tc" => {
            then(truth, &socket, "tc qdisc add dev rx0 clsact; tc filter add dev rx0 ingress matchall action drop")?
        }
        other => return Err(io::Error::other(format!("there is no behaviour `{other}`"))),
    }
    read_on(truth, &socket)
}
