//! The receiver's interface polled by a kernel thread of its own, so that a second processor takes in what the first one sends.
//!
//! A veth hands a frame to the peer's stack on the processor that sends it. With NAPI in a thread (`Documentation/networking/napi.rst`
//! of Linux, "Threaded NAPI") it is queued, 256 frames at most, and another processor goes on with it: half as long again for each
//! frame to be sent in, at top speed. It takes `CAP_NET_ADMIN` in the first user namespace, since only sysfs switches it and an ordinary
//! user's files there have no owner there. Start at [`poll_in_a_thread`].

use std::fs;

use crate::diagnostic::Result;
use crate::host::ethtool::{self, Feature, Switch};
use crate::host::namespace::{Namespace, mount_own};
use crate::scenario::topology::{LAB_RECEIVER, LAB_SENDER};

/// Lets a kernel thread poll the receiver's interface. Says whether it does; where it can't be had, all is as before.
///
/// A veth queues only what could be merged (generic receive offload), and only where the sender's side leaves TCP segments alone: frames
/// of TCP, and datagrams for sockets that ask for it, may be merged from now on, so it is for neither.
///
/// # Errors
/// When a namespace can't be entered.
pub fn poll_in_a_thread(sender: &Namespace, receiver: &Namespace) -> Result<bool> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Ok(false);
    }
    let switched = sender.run(|| ethtool::switch(LAB_SENDER, Feature::TcpSegmentation, Switch::Off).is_ok())?;
    if !switched {
        return Ok(false);
    }
    // A /sys that shows the namespace is for one thread.
    receiver.run_apart(|| {
        let merging = |to| ethtool::switch(LAB_RECEIVER, Feature::GenericReceive, to).is_ok();
        if !merging(Switch::On) {
            return false;
        }
        let threaded = mount_own("sysfs", "/sys").is_ok()
            && fs::write(format!("/sys/class/net/{LAB_RECEIVER}/threaded"), "1").is_ok();
        if !threaded {
            // Polled on the sender's processor it would only be slower.
            merging(Switch::Off);
        }
        threaded
    })
}
