//! Closing what the kernel closes slowly, beside what is done next: packet sockets, rings and chains wait until every processor has passed the
//! kernel's own code once (an RCU grace period, 10 ms or so), several times each. One after the other, that was more than half of a short run.
//!
//! Start at [`close`]; whoever ends the process calls [`finish`] before. What nobody has to wait for at all is [`Left`].

use std::io::IoSlice;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

/// What is being closed.
static CLOSING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Drops `value` on a thread of its own; here, where there can be none.
pub fn close(value: impl Send + 'static) {
    if let Ok(thread) = Builder::new().name("close".to_owned()).spawn(move || drop(value)) {
        CLOSING.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
}

/// Waits until all is closed that was to be closed so far.
pub fn finish() {
    let closing = std::mem::take(&mut *CLOSING.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in closing {
        // A panic while something is dropped says no more than that it is gone.
        let _ = thread.join();
    }
}

/// Whether the kernel is left to close what is in a [`Left`].
static LEAVES: AtomicBool = AtomicBool::new(false);

/// From now on the kernel is left to close what is in a [`Left`]. Where many runs follow one another, that costs more than it gains: the kernel then has
/// many namespaces at once, and takes half as long again for all of them.
pub fn leave() {
    LEAVES.store(true, Ordering::Relaxed);
}

/// What has a descriptor that the kernel may be left to close, some 30 ms after this is dropped: nobody waits then, not even the end of the process. The
/// descriptor is put into the queue of a Unix socket that is in that queue itself (`SCM_RIGHTS`, unix(7)), and so can be reached by nobody: the
/// kernel finds such sockets, and closes what is in them, on a thread of its own.
///
/// Where the kernel doesn't take it, since too many are on their way, it is closed at once.
#[derive(Debug)]
pub struct Left<T: AsFd>(Option<T>);

impl<T: AsFd> Left<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: AsFd> Deref for Left<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T: AsFd> DerefMut for Left<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl<T: AsFd> Drop for Left<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take().filter(|_| LEAVES.load(Ordering::Relaxed)) else { return };
        let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
        if let Ok((way_in, queue)) = &pair {
            let both = [value.as_fd().as_raw_fd(), queue.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&both)];
            let _ = sendmsg::<()>(way_in.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::MSG_DONTWAIT, None);
        }
        // Before the pair: the kernel's must be the last one.
        drop(value);
        drop(pair);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn what_is_left_is_closed_by_the_kernel() {
        let (mut reader, left) = UnixStream::pair().expect("a pair");
        super::leave();
        drop(super::Left::new(left));
        // Its other end sees the end when it is closed.
        reader.set_read_timeout(Some(Duration::from_mins(1))).expect("a time");
        match reader.read(&mut [0]) {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    #[test]
    fn what_is_closed_is_gone_when_closing_is_finished() {
        let (kept, dropped) = mpsc::channel::<()>();
        super::close(kept);
        super::finish();
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
