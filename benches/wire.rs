//! A lab of the bench's own, and a receiver in it that captures everything: nothing that is sent leaves it.
//!
//! Frames carry another MAC than the receiver's, so that its stack drops them early, whoever sends. Start at [`Wire::observe`].

use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::geteuid;
use pcap::{Active, Capture, Packet, Precision};

use crate::workloads::SOURCE_MAC;

/// The receiver's MAC address, to which no frame is sent.
pub(crate) const RECEIVER_MAC: &str = "02:00:00:00:00:99";

/// The interfaces, named as in a lab of restage.
const SENDER: &str = "tx0";
const RECEIVER: &str = "rx0";

/// How long libpcap's ring keeps a frame back, in milliseconds.
const HELD_BACK_MS: i32 = 10;

/// How long a wire is silent before nothing more is awaited, in milliseconds: longer than the ring keeps a frame back.
const SILENCE_MS: u8 = 50;

/// The ring of the receiver, in bytes: as that of restage.
const RING_BYTES: i32 = 4 << 20;

/// Gets the right to make namespaces, and to send in them. An ordinary user starts the bench once more as root of a user namespace:
/// a program that is started there has rights only if its user is root.
///
/// To be called while there is one thread: the kernel moves no process with several.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn prepare() -> io::Result<()> {
    let root = ["--user", "--map-root-user"];
    if !geteuid().is_root() {
        let allowed = Command::new("unshare").args(root).arg("true").output()?;
        if !allowed.status.success() {
            let said = String::from_utf8_lossy(&allowed.stderr).trim().to_owned();
            return Err(io::Error::other(format!("an ordinary user needs a user namespace, and gets none: {said}")));
        }
        return Err(Command::new("unshare").args(root).arg(env::current_exe()?).args(env::args_os().skip(1)).exec());
    }
    Ok(())
}

/// A network namespace.
#[derive(Debug)]
struct Namespace(File);

impl Namespace {
    fn make() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        })
    }

    /// Does `work` in the namespace, on a thread that ends with it.
    fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_a_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// Runs a program in the namespace.
    fn command(&self, line: &str) -> io::Result<()> {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let output = self.run(|| command.output())?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("`{line}`: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
}

/// A lab that is up.
#[derive(Debug)]
pub(crate) struct Wire {
    sender: Namespace,
    receiver: Namespace,
}

/// Two labs.
#[derive(Debug)]
pub(crate) struct Wires {
    /// As every veth pair is.
    pub(crate) plain: Wire,
    /// Polled by another processor, where that can be had.
    pub(crate) polled: Option<Wire>,
}

impl Wires {
    /// Makes the namespaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn make() -> io::Result<Self> {
        let (plain, polled) = (Wire::make()?, Wire::make()?);
        let is_polled = thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
            && polled.poll_in_a_thread().is_ok();
        Ok(Self { plain, polled: is_polled.then_some(polled) })
    }
}

/// What is kept of the frames that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// When the first and the last one came.
    Ends,
    /// When each of them came.
    Times,
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) count: u64,
    /// Frames for which the ring had no room.
    pub(crate) drops: u64,
    /// Nanoseconds since 1970, by the kernel's clock.
    first_ns: u64,
    last_ns: u64,
    /// The same of each frame, where that was asked for.
    pub(crate) times_ns: Vec<u64>,
}

impl Wire {
    /// Makes the namespaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn make() -> io::Result<Self> {
        let wire = Self { sender: Namespace::make()?, receiver: Namespace::make()? };
        let receiver = format!("/proc/{}/fd/{}", process::id(), wire.receiver.0.as_raw_fd());
        wire.sender.command(&format!(
            "ip link add {SENDER} type veth peer name {RECEIVER} address {RECEIVER_MAC} netns {receiver}"
        ))?;
        for (namespace, interface) in [(&wire.sender, SENDER), (&wire.receiver, RECEIVER)] {
            // Without IPv6 nothing is sent but what the bench sends.
            namespace.command(&format!("ip link set {interface} addrgenmode none"))?;
            namespace.command(&format!("ip link set {interface} up"))?;
        }
        Ok(wire)
    }

    /// Lets a kernel thread take in what arrives, as in a lab of restage at top speed (`Documentation/networking/napi.rst` of Linux).
    fn poll_in_a_thread(&self) -> io::Result<()> {
        self.sender.command(&format!("ethtool -K {SENDER} tso off"))?;
        self.receiver.command(&format!("ethtool -K {RECEIVER} gro on"))?;
        self.receiver.run(|| {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let nothing = None::<&str>;
            mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)?;
            mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing)?;
            fs::write(format!("/sys/class/net/{RECEIVER}/threaded"), "1")
        })
    }

    /// Does `work` in the sender's namespace, and says what arrived meanwhile.
    ///
    /// # Errors
    /// When the receiver can't capture.
    pub(crate) fn observe<T: Send>(&self, keep: Keep, work: impl FnOnce() -> T + Send) -> io::Result<(T, Arrivals)> {
        let capture = self.receiver.run(|| {
            let capture = Capture::from_device(RECEIVER).map_err(told)?;
            let capture = capture.buffer_size(RING_BYTES).timeout(HELD_BACK_MS).precision(Precision::Nano);
            // A blocking one would wait for the next frame without end, for libpcap leaves its timeout to the kernel's ring.
            capture.open().and_then(Capture::setnonblock).map_err(told)
        })?;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(capture, keep, &is_over));
            let worked = self.sender.run(|| Ok(work()));
            is_over.store(true, Ordering::Release);
            let arrivals = receiving.join().map_err(|_| io::Error::other("the receiver panicked"))?;
            Ok((worked?, arrivals?))
        })
    }
}

impl Arrivals {
    /// From the first frame to the last one.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.last_ns.saturating_sub(self.first_ns))
    }

    fn add(&mut self, frame: &Packet<'_>, keep: Keep) {
        // The fraction is of nanoseconds, whatever its name says.
        let (seconds, nanos) = (frame.header.ts.tv_sec, frame.header.ts.tv_usec);
        let time_ns = 1_000_000_000 * u64::try_from(seconds).unwrap_or(0) + u64::try_from(nanos).unwrap_or(0);
        if self.count == 0 {
            self.first_ns = time_ns;
        }
        self.last_ns = time_ns;
        self.count += 1;
        if keep == Keep::Times {
            self.times_ns.push(time_ns);
        }
        // As who captures does, it reads every byte.
        let (words, rest) = frame.data.as_chunks::<8>();
        let sum = words.iter().map(|word| u64::from_ne_bytes(*word)).fold(0, u64::wrapping_add);
        black_box((sum, rest));
    }
}

/// Captures until the work is over and nothing comes any more.
fn receive(mut capture: Capture<Active>, keep: Keep, is_over: &AtomicBool) -> io::Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        match capture.next_packet() {
            Ok(frame) if frame.data.get(6..12) == Some(&SOURCE_MAC) => arrivals.add(&frame, keep),
            Ok(_) => {}
            Err(pcap::Error::TimeoutExpired) => {
                let mut ring = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ring, SILENCE_MS)? == 0 && was_over {
                    break;
                }
            }
            Err(error) => return Err(told(error)),
        }
    }
    arrivals.drops = capture.stats().map_err(told)?.dropped.into();
    Ok(arrivals)
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn told(error: pcap::Error) -> io::Error {
    io::Error::other(error.to_string())
}
