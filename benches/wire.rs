//! A lab of the bench's own, and a receiver in it that captures everything: nothing that is sent leaves it.
//!
//! Frames carry another MAC than the receiver's, so that its stack drops them early, whoever sends. Start at [`Wire::observe`].

use std::env;
use std::hint::black_box;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::unistd::geteuid;
use restage::diagnostic::Failure;
use restage::host::namespace::enter;
use restage::packet::MacAddr;
use restage::scenario::topology::LAB_RECEIVER;
use restage::testbed::network::{LabNetwork, LabPlan};
use restage::testbed::polling::poll_in_a_thread;
use restage::wire::ring::{DEFAULT_BYTES, Ring, Seen};

use crate::workloads::SOURCE_MAC;

/// The receiver's MAC address, to which no frame is sent.
pub(crate) const RECEIVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);

/// When a silent wire is looked at once more: much longer than the ring keeps a frame back.
const SILENCE: Duration = Duration::from_millis(50);

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
    enter().map(drop).map_err(|failure| told(&failure))
}

/// A lab that is up.
#[derive(Debug)]
pub(crate) struct Wire {
    lab: LabNetwork,
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
        let is_polled = poll_in_a_thread(&polled.lab.sender, &polled.lab.receiver).map_err(|failure| told(&failure))?;
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
        let plan = LabPlan { receiver_mac: RECEIVER_MAC, ..LabPlan::default() };
        let lab = LabNetwork::up(&plan).map_err(|not_up| told(&not_up.failure))?;
        Ok(Self { lab })
    }

    /// Does `work` in the sender's namespace, and says what arrived meanwhile.
    ///
    /// # Errors
    /// When the receiver can't capture.
    pub(crate) fn observe<T: Send>(&self, keep: Keep, work: impl FnOnce() -> T + Send) -> io::Result<(T, Arrivals)> {
        let ring = self.lab.receiver.run(|| Ring::open(LAB_RECEIVER, DEFAULT_BYTES));
        let ring = ring.flatten().map_err(|failure| told(&failure))?;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(ring, keep, &is_over));
            let worked = self.lab.sender.run(work);
            is_over.store(true, Ordering::Release);
            let arrivals = receiving.join().map_err(|_| io::Error::other("the receiver panicked"))?;
            Ok((worked.map_err(|failure| told(&failure))?, arrivals?))
        })
    }
}

impl Arrivals {
    /// From the first frame to the last one.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.last_ns.saturating_sub(self.first_ns))
    }

    fn add(&mut self, frame: &Seen<'_>, keep: Keep) {
        if self.count == 0 {
            self.first_ns = frame.time_ns;
        }
        self.last_ns = frame.time_ns;
        self.count += 1;
        if keep == Keep::Times {
            self.times_ns.push(frame.time_ns);
        }
        // As who captures does, it reads every byte.
        let (words, rest) = frame.bytes.as_chunks::<8>();
        let sum = words.iter().map(|word| u64::from_ne_bytes(*word)).fold(0, u64::wrapping_add);
        black_box((sum, rest));
    }
}

/// Captures until the work is over and nothing comes any more.
fn receive(mut ring: Ring, keep: Keep, is_over: &AtomicBool) -> io::Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let read = ring.read(SILENCE, &mut |frame| {
            if frame.bytes.get(6..12) == Some(&SOURCE_MAC) {
                arrivals.add(&frame, keep);
            }
        });
        if read.map_err(|failure| told(&failure))? == 0 && was_over {
            break;
        }
    }
    arrivals.drops = ring.statistics().map_err(|failure| told(&failure))?.drops;
    Ok(arrivals)
}

/// A failure of the library, in a line.
fn told(failure: &Failure) -> io::Error {
    let said = failure.problems.iter().map(|problem| match &problem.why {
        Some(why) => format!("{}: {why}", problem.what),
        None => problem.what.clone(),
    });
    io::Error::other(said.collect::<Vec<_>>().join("; "))
}
