//! The applications under test: receivers with a socket that is special in one way. This program is one of them when its first
//! argument is [`VERB`]; then come the kind and the address that it binds.
#![expect(unsafe_code, reason = "two socket options that no crate of ours wraps")]

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, bind, setsockopt, shutdown, socket, sockopt,
};

/// The first argument.
pub(crate) const VERB: &str = "--receive";

/// A group that a receiver may join.
pub(crate) const GROUP: &str = "239.9.9.9";

/// Receives until a signal ends it.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let ended = match words.as_slice() {
        [kind, address] => address.parse().map_err(Into::into).and_then(|address| receive(kind, address)),
        _ => Err("the receiver takes a kind and an address".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn receive(kind: &str, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let unbound = socket(family, SockType::Datagram, SockFlag::empty(), None)?;
    // What has to be there before the first datagram comes.
    match kind {
        "plain" | "connected" | "late" | "reply" | "shut" | "joins" => {}
        "on-lo" => setsockopt(&unbound, sockopt::BindToDevice, &OsString::from("lo"))?,
        "replies-on-rx0" => setsockopt(&unbound, sockopt::BindToDevice, &OsString::from("rx0"))?,
        "v6only" => setsockopt(&unbound, sockopt::Ipv6V6Only, &true)?,
        "dual" => setsockopt(&unbound, sockopt::Ipv6V6Only, &false)?,
        "slow" => setsockopt(&unbound, sockopt::RcvBuf, &4096)?,
        "min-ttl" => set_option(&unbound, libc::IPPROTO_IP, libc::IP_MINTTL, &255_i32)?,
        "filter" => attach_refusal(&unbound)?,
        other => return Err(format!("there is no receiver `{other}`").into()),
    }
    bind(unbound.as_raw_fd(), &SockaddrStorage::from(address))?;
    let socket = UdpSocket::from(unbound);
    match kind {
        "connected" => {
            socket.connect((Ipv4Addr::new(10, 9, 0, 77), 5000))?;
            // A socket with one peer is not taken for one that listens: by this one it is seen that all is ready.
            let ready = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9998))?;
            std::mem::forget(ready);
        }
        "joins" => socket.join_multicast_v4(&GROUP.parse()?, &Ipv4Addr::new(10, 9, 0, 2))?,
        // After the first datagram it is busy for longer than the others take.
        "slow" => {
            socket.recv(&mut [0; 64])?;
            sleep(Duration::from_millis(800));
        }
        "late" => sleep(Duration::from_millis(700)),
        // It says ENOTCONN, and is shut nevertheless.
        "shut" => drop(shutdown(socket.as_raw_fd(), Shutdown::Read)),
        _ => {}
    }
    read_on(&socket, kind)
}

fn read_on(socket: &UdpSocket, kind: &str) -> ! {
    let mut datagram = [0; 2048];
    loop {
        let read = if kind.starts_with("repl") {
            // Nobody may be there: that is what some rows are for.
            socket.recv_from(&mut datagram).map(|(length, sender)| drop(socket.send_to(&datagram[..length], sender)))
        } else {
            // Without the sender's address: shut for reading, the kernel leaves it unset.
            socket.recv(&mut datagram).map(drop)
        };
        // An ICMP error is read once.
        if read.is_err() || kind == "shut" {
            sleep(Duration::from_millis(1));
        }
    }
}

/// A filter that refuses every datagram.
fn attach_refusal(socket: &OwnedFd) -> io::Result<()> {
    let mut refuse = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut refuse };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set_option<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).expect("socket options are small");
    // SAFETY: pointer and length describe `value`, which lives across the call; what it points to (a filter's one instruction) does too,
    // and the kernel only reads both.
    let status = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
