//! The receiver's interface polled by a kernel thread of its own, so that a second processor takes in what the first one sends.
//!
//! A veth hands a frame to the peer's stack on the processor that sends it. With NAPI in a thread (`Documentation/networking/napi.rst`
//! of Linux, "Threaded NAPI") it is queued, 256 frames at most, and another processor goes on with it: half as long again for each
//! frame to be sent in, at top speed.
//!
//! Only a file in sysfs switches the thread on. It belongs to root in the user namespace that owns the interface's network namespace, and an ordinary
//! user is root in none that a program could run in as itself. So the pair is made in a namespace where this user is root, and moved: the switch
//! stays as it is. Start at [`make_veth`].

use std::fs;
use std::io;
use std::os::fd::AsFd;

use super::link::End;
use crate::diagnostic::Result;
use crate::host::ethtool::{self, Feature, Switch};
use crate::host::namespace::{Namespace, mount_own};
use crate::host::rtnetlink::RouteSocket;
use crate::scenario::topology::{LAB_RECEIVER, LAB_SENDER};

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
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
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
