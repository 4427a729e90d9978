//! The receiver's interface polled by a kernel thread of its own, so that a second processor takes in what the first one sends.
//!
//! A veth hands a frame to the peer's stack on the processor that sends it. With NAPI in a thread (`Documentation/networking/napi.rst`
//! of Linux, "Threaded NAPI") it is queued, 256 frames at most, and another processor goes on with it. That gains where the two share a cache, and loses
//! where they don't, for each frame then moves a dozen cache lines or more from one to the other.
//!
//! Only a file in sysfs switches the thread on. It belongs to root in the user namespace that owns the interface's network namespace, and an ordinary
//! user is root in none that a program could run in as itself. So the pair is made in a namespace where this user is root, and moved: the switch
//! stays as it is. Start at [`make_veth`].

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use super::link::End;
use crate::diagnostic::Result;
use crate::host::ethtool::{self, Feature, Switch};
use crate::host::namespace::{Namespace, mount_own};
use crate::host::rtnetlink::RouteSocket;
use crate::scenario::topology::{LAB_RECEIVER, LAB_SENDER};

/// Two processors are near each other where one sees this soon what the other has written. On a Xeon whose two took 77 ns, to poll was no faster for
/// short frames than to read ahead instead, and a third slower for long ones. On an EPYC it made half as much again of the rate; its time was not
/// measured. Processors that share a cache usually take some 25 ns.
const NEAR: Duration = Duration::from_nanos(45);
/// So often a word goes to and fro for one look.
const TURNS: u32 = 200;
const LOOKS: u32 = 5;
/// A look that takes longer, with the start of the other thread, is of processors that do something else.
const LOOK_LIMIT: Duration = Duration::from_millis(1);

/// Whether it gains anything to poll for frames of `AF_XDP`: where another processor is near. Others' frames come slower, and gain anywhere.
pub(super) fn gains() -> bool {
    available_parallelism().is_ok_and(|processors| processors.get() > 1) && hand_over().is_some_and(|time| time < NEAR)
}

/// How long it takes until one processor sees what another one has written; `None` where no other one takes part.
fn hand_over() -> Option<Duration> {
    let word = AtomicU32::new(0);
    // Waits until the word is `wanted`, and writes the next one; false where that takes too long.
    let turn = |wanted: u32, begun: Instant| {
        let mut spins = 0_u32;
        while word.load(Ordering::Acquire) != wanted {
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(1024) && begun.elapsed() > LOOK_LIMIT {
                return false;
            }
            std::hint::spin_loop();
        }
        word.store(wanted + 1, Ordering::Release);
        true
    };
    let turns = |first: u32| {
        let started = Instant::now();
        // The other one takes its time to start.
        let mut begun = None;
        let done = (0..=TURNS).all(|number| {
            let done = turn(2 * number + first, started);
            if number == 1 {
                begun = Some(Instant::now());
            }
            done
        });
        begun.filter(|_| done).map(|begun| begun.elapsed())
    };
    thread::scope(|scope| {
        (0..LOOKS)
            .filter_map(|_| {
                word.store(0, Ordering::Release);
                // Where no thread can be made, nothing is known.
                let other = thread::Builder::new().spawn_scoped(scope, || turns(1)).ok()?;
                let taken = turns(0);
                other.join().ok().flatten().and(taken)
            })
            .min()
            .map(|taken| taken / (2 * (TURNS - 1)))
    })
}

/// Makes the pair of a lab, both ends down, so that a kernel thread polls the receiver's end once [`poll`] is called. Says whether it is made; where
/// that can't be had, nothing is.
///
/// # Errors
/// When a thread can't be made.
pub(super) fn make_veth(
    receiver: End<'_>,
    sender: End<'_>,
    [to_receiver, to_sender]: [&Namespace; 2],
    mtu: u32,
) -> Result<bool> {
    let Ok(namespace) = Namespace::create_as_root() else { return Ok(false) };
    // A /sys that shows the namespace is for one thread.
    namespace
        .run_apart(|| {
            let mut netlink = RouteSocket::open()?;
            netlink.make_veth(receiver, sender, to_sender.as_fd(), mtu)?;
            let index = netlink.index(receiver.name)?;
            // The switch is there while something polls.
            let moved = ethtool::switch(receiver.name, Feature::GenericReceive, Switch::On)
                .and_then(|()| netlink.bring_up(index))
                .and_then(|()| Ok(mount_own("sysfs", "/sys")?))
                .and_then(|()| fs::write(format!("/sys/class/net/{}/threaded", receiver.name), "1"))
                .and_then(|()| netlink.move_link(index, to_receiver.as_fd()));
            if moved.is_err() {
                netlink.remove_link(index)?;
            }
            moved
        })
        .map(|made: io::Result<()>| made.is_ok())
}

/// Whether no other program waits for a processor. Where some do, the sender waits for the kernel thread, which waits for its turn: that was measured to
/// take four times as long as without it.
pub(super) fn has_free_processor() -> bool {
    let processors = available_parallelism().map_or(1, usize::from);
    // The fourth figure: what runs or waits for it, this process included (proc_loadavg(5)).
    let figures = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = figures.split([' ', '/']).nth(3).and_then(|figure| figure.parse::<usize>().ok());
    running.is_none_or(|running| running <= processors)
}

/// Lets the kernel thread poll the receiver's interface, which [`make_veth`] has made. Says whether it does; where it can't be had, all is as before.
///
/// A veth queues only what could be merged (generic receive offload), and only where the sender's side leaves TCP segments alone: frames
/// of TCP, and datagrams for sockets that ask for it, may be merged from now on, so it is for neither.
///
/// # Errors
/// When a namespace can't be entered.
pub(crate) fn poll(sender: &Namespace, receiver: &Namespace) -> Result<bool> {
    let switched = sender.run(|| ethtool::switch(LAB_SENDER, Feature::TcpSegmentation, Switch::Off).is_ok())?;
    Ok(switched && receiver.run(|| ethtool::switch(LAB_RECEIVER, Feature::GenericReceive, Switch::On).is_ok())?)
}
