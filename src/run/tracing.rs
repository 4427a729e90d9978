//! Opens the kernel's tracepoints for a run. Start at [`open_trace`]; where others send to the receiver, [`await_rest`] follows.

use std::sync::Mutex;
use std::time::Duration;

use super::sockets::SocketWatch;
use super::stack::lock;
use crate::diagnostic::Result;
use crate::outcome::Layers;
use crate::testbed::Side;
use crate::wire::trace::{self, Event, PacketTrace};

/// So often the sockets are looked at until their queues are empty.
const REST_TRIES: usize = 200;
/// Between two looks.
const REST_PAUSE: Duration = Duration::from_millis(2);

/// Waits for a moment at which nothing is in the queues of the sockets that the capture's datagrams go to, and leaves only the records after it: what
/// others had sent before is none of the records, and a queue that begins with it could not be followed. The position of the first packet whose record
/// is left; `None` where there was no such moment.
pub(super) fn await_rest(
    monitor: &mut PacketTrace,
    sockets: &Mutex<SocketWatch>,
    ports: Option<&[u16]>,
) -> Result<Option<u64>> {
    let mut begins = 0;
    // Whether it is of a queue.
    let mut leave_out = |event: Event<'_>| {
        if let Event::Arrived(arrived) = event {
            begins = begins.max(arrived.position + 1);
        }
        matches!(event, Event::Queued(_) | Event::Read(_))
    };
    for _ in 0..REST_TRIES {
        monitor.read(&mut |event| _ = leave_out(event))?;
        let seen = lock(sockets).look()?;
        let mut counted = seen.iter().filter(|record| ports.is_none_or(|ports| ports.contains(&record.socket.port)));
        let is_empty = counted.all(|record| !record.until_end || record.socket.unread_bytes == 0);
        let mut moved = 0;
        monitor.read(&mut |event| moved += usize::from(leave_out(event)))?;
        if is_empty && moved == 0 {
            return Ok(Some(begins));
        }
        std::thread::sleep(REST_PAUSE);
    }
    Ok(None)
}

/// Listens to the kernel's tracepoints as far as `mode` says and the machine allows; `layers` says what came of it.
pub(super) fn open_trace(
    receiver: &Side,
    mode: &std::result::Result<trace::Mode, String>,
    frames: Option<u64>,
    layers: &mut Layers,
) -> Result<Option<PacketTrace>> {
    let mode = match mode {
        Ok(mode) => *mode,
        Err(why) => {
            layers.kernel_why.clone_from(why);
            layers.followed_why.clone_from(why);
            return Ok(None);
        }
    };
    match receiver.trace(mode, frames)? {
        trace::Opened::Listening(trace) => {
            layers.kernel = true;
            layers.followed = mode == trace::Mode::Packets && trace.not_followed().is_none();
            layers.followed_why = match trace.not_followed() {
                Some(why) => why.to_owned(),
                None if layers.followed => String::new(),
                None => "the rate is too high, or the command line says so".to_owned(),
            };
            Ok(Some(trace))
        }
        trace::Opened::Unavailable(why) => {
            layers.followed_why.clone_from(&why);
            layers.kernel_why = why;
            Ok(None)
        }
    }
}
