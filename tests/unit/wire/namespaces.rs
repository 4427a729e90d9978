//! A pair of network namespaces with a veth pair between them, for the tests of the wire alone: made by `ip`, gone with their last
//! descriptor. Start at [`Pair::new`].

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

pub(crate) const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const RECEIVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A network namespace.
#[derive(Clone)]
pub(crate) struct Namespace(Arc<File>);

impl Namespace {
    fn new() -> Result<Self, String> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("unshare(CLONE_NEWNET): {errno}"))?;
            File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())
        };
        thread::scope(|scope| scope.spawn(make).join().unwrap()).map(|file| Self(Arc::new(file)))
    }

    /// Runs `work` on a thread inside, which then ends.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&*self.0, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// Runs lines of `ip -batch`.
    pub(crate) fn ip(&self, lines: &str) {
        self.enter(|| {
            let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
            assert!(ip.wait().unwrap().success(), "ip: {lines}");
        });
    }
}

/// `tx0` in one namespace, `rx0` (`10.9.0.2`, `fd00:9::2`) in the other. Nothing of its own is sent from `tx0`.
pub(crate) struct Pair {
    pub(crate) tx: Namespace,
    pub(crate) rx: Namespace,
}

impl Pair {
    /// `None`, with the reason printed, where the machine doesn't allow it; a failure there with `RESTAGE_REQUIRE_LAB=1`.
    pub(crate) fn new() -> Option<Self> {
        Self::with_mtu(1500, 1500)
    }

    pub(crate) fn with_mtu(sender: u32, receiver: u32) -> Option<Self> {
        let made = Self::make(sender, receiver);
        made.map_err(|why| skip(&why)).ok()
    }

    fn make(sender: u32, receiver: u32) -> Result<Self, String> {
        if Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err() {
            return Err("there is no `ip`".to_owned());
        }
        let pair = Self { tx: Namespace::new()?, rx: Namespace::new()? };
        let peer = format!("/proc/{}/fd/{}", std::process::id(), pair.rx.0.as_raw_fd());
        pair.tx.enter(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap());
        pair.rx.enter(|| {
            fs::write("/proc/sys/net/ipv6/conf/default/router_solicitations", "0").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
            // A new namespace has the machine's value.
            fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        });
        pair.tx.ip(&format!(
            "link add tx0 mtu {sender} address 02:00:00:00:00:01 type veth \
             peer name rx0 mtu {receiver} address 02:00:00:00:00:02 netns {peer}\nlink set lo up\nlink set tx0 up\n"
        ));
        pair.rx
            .ip("link set lo up\nlink set rx0 up\naddr add 10.9.0.2/24 dev rx0\naddr add fd00:9::2/64 dev rx0 nodad\n\
             neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev rx0 nud permanent\n");
        pair.rx.enter(|| wait_for_local("fd000009000000000000000000000002 80 "));
        Ok(pair)
    }
}

/// Waits for a line of `/proc/net/ipv6_route`: an IPv6 address is local only when a kernel worker has made its route; until then packets
/// to it are Ip6InAddrErrors.
pub(crate) fn wait_for_local(local: &str) {
    let begin = Instant::now();
    while !fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap().contains(local) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{local} doesn't become local");
        thread::yield_now();
    }
}

/// Says why a test does nothing.
pub(crate) fn skip(why: &str) {
    assert!(
        std::env::var_os("RESTAGE_REQUIRE_LAB").is_none_or(|value| value != "1"),
        "RESTAGE_REQUIRE_LAB=1, but {why}"
    );
    eprintln!("skipped: {why}");
}

/// An Ethernet frame with an IPv4 UDP datagram of `payload` bytes from 10.9.0.1:5000 to 10.9.0.2, without a UDP checksum. `number` stands
/// in the payload (at least 4 bytes).
pub(crate) fn udp_frame(number: u32, port: u16, payload: usize) -> Vec<u8> {
    udp_frame_to([10, 9, 0, 2], RECEIVER_MAC, number, port, payload)
}

pub(crate) fn udp_frame_to(to: [u8; 4], mac: [u8; 6], number: u32, port: u16, payload: usize) -> Vec<u8> {
    let mut frame = [&mac[..], &SENDER_MAC, &[8, 0]].concat();
    let length = u16::try_from(28 + payload).unwrap();
    let mut ip = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1], &to].concat();
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()).to_be_bytes());
    frame.extend(ip);
    for field in [5000, port, length - 20, 0] {
        frame.extend(field.to_be_bytes());
    }
    frame.extend(number.to_be_bytes());
    frame.resize(42 + payload, 0x41);
    frame
}

/// An Ethernet frame with an IPv6 UDP datagram of 40 bytes from `[fd00:9::1]:5000`, with the right checksum.
pub(crate) fn udp6_frame_to(to: Ipv6Addr, mac: [u8; 6], port: u16) -> Vec<u8> {
    let from = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
    let mut udp: Vec<u8> = [5000, port, 48, 0].iter().flat_map(|field: &u16| field.to_be_bytes()).collect();
    udp.resize(48, 0x42);
    // RFC 8200 §8.1: addresses, length and next header are summed too.
    let summed = [&from.octets()[..], &to.octets(), &[0, 48, 0, 17], &udp].concat();
    let sum: u32 = summed.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    udp[6..8].copy_from_slice(&(!u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()).to_be_bytes());
    [&mac[..], &SENDER_MAC, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 48, 17, 64], &from.octets(), &to.octets(), &udp].concat()
}
