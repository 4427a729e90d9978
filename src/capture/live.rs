//! The frames of an interface of this machine, as they come: libpcap's live capture, with times in nanoseconds.
//!
//! Unlike the receive ring of a run (`wire`), it sees what the interface sends, too, and interfaces of any link type. Start at [`Live::open`].

use std::os::fd::{AsFd, BorrowedFd};

use pcap::{Active, Capture, Precision};

use super::{Filter, Frame, LARGEST_SNAPLEN};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::packet::layers::LinkType;

/// A frame is there this long after it came, at the latest.
pub const LATEST_MS: u16 = 100;
/// The kernel keeps frames that were not read yet in so many bytes, or less where it has not so many.
const BUFFER_BYTES: i32 = 32 << 20;

/// An interface that is recorded.
pub struct Live {
    handle: Capture<Active>,
    link: LinkType,
    frames: u64,
    bytes: Vec<u8>,
}

/// What the kernel counted since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Frames that the kernel had no room for, because they were read too slowly.
    pub by_kernel: u32,
    /// Frames that the interface itself lost, where its driver says so.
    pub by_interface: u32,
}

impl Live {
    /// Every frame from now on that `filter` takes, all where it is empty. `any` is all interfaces.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] without `CAP_NET_RAW`, and where the interface is down; [`crate::diagnostic::Kind::Invalid`] for a
    /// filter that does not compile.
    pub fn open(interface: &str, snaplen: Option<u32>, filter: &str) -> Result<Self> {
        if !filter.is_empty() {
            Filter::compile(filter)?;
        }
        let snaplen = i32::try_from(snaplen.unwrap_or(LARGEST_SNAPLEN)).unwrap_or(i32::MAX);
        let inactive = Capture::from_device(interface).map_err(|error| refused(interface, &error))?;
        let opened = inactive
            .promisc(true)
            .snaplen(snaplen)
            .timeout(LATEST_MS.into())
            .buffer_size(BUFFER_BYTES)
            .precision(Precision::Nano)
            .open()
            .and_then(Capture::setnonblock);
        let mut handle = opened.map_err(|error| refused(interface, &error))?;
        if !filter.is_empty() {
            handle.filter(filter, true).map_err(|error| {
                Failure::invalid(
                    Diagnostic::error(format!("the filter `{filter}` does not fit the link type of `{interface}`"))
                        .why(format!("libpcap says: {}", said(&error)))
                        .fix("write an expression that fits it"),
                )
            })?;
        }
        let link = LinkType(of_dlt(handle.get_datalink().0));
        Ok(Self { handle, link, frames: 0, bytes: Vec::new() })
    }

    /// The next frame, if one is there.
    ///
    /// # Errors
    /// When the interface goes down, or is removed.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>> {
        let packet = match self.handle.next_packet() {
            Ok(packet) => packet,
            Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => return Ok(None),
            Err(error) => {
                return Err(Failure::error(
                    Diagnostic::error("the interface can't be read any more").why(said(&error)),
                ));
            }
        };
        self.frames += 1;
        self.bytes.clear();
        self.bytes.extend_from_slice(packet.data);
        // With `Precision::Nano` the second field has nanoseconds.
        let nanoseconds = u64::try_from(packet.header.ts.tv_usec).unwrap_or_default();
        let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or_default();
        Ok(Some(Frame {
            number: self.frames,
            time_ns: seconds * 1_000_000_000 + nanoseconds,
            original_length: packet.header.len,
            link: self.link,
            bytes: &mut self.bytes,
        }))
    }

    /// The link type of its frames.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// Frames that came and can't be had.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn lost(&mut self) -> Result<Lost> {
        let counted = self.handle.stats();
        let counted = counted.map_err(|error| {
            Failure::error(Diagnostic::error("can't read how many frames were dropped").why(said(&error)))
        })?;
        Ok(Lost { by_kernel: counted.dropped, by_interface: counted.if_dropped })
    }
}

impl AsFd for Live {
    /// Readable when frames are there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The link type of files for libpcap's own number: the reverse of what `filter` does.
fn of_dlt(dlt: i32) -> u16 {
    match dlt {
        11 => 100,
        12 => 101,
        15 => 102,
        16 => 103,
        18 => 246,
        19 => 106,
        same => u16::try_from(same).unwrap_or(u16::MAX),
    }
}

fn said(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(message) => message.clone(),
        other => other.to_string(),
    }
}

fn refused(interface: &str, error: &pcap::Error) -> Failure {
    let said = said(error);
    let problem = Diagnostic::error(format!("can't record `{interface}`"));
    let lower = said.to_lowercase();
    if lower.contains("permi") {
        let program = std::env::current_exe().map_or_else(|_| "restage".to_owned(), |path| path.display().to_string());
        return Failure::blocked(
            problem.why("this needs CAP_NET_RAW in this network namespace (packet(7))").fix(format!(
                "run `sudo setcap cap_net_raw+ep {program}` once, or run restage with sudo; in a container, give it NET_RAW"
            )),
        );
    }
    let problem = problem.why(format!("libpcap says: {said}"));
    if lower.contains("not up") || lower.contains("down") {
        return Failure::blocked(problem.fix(format!("`ip link set {interface} up`")));
    }
    Failure::error(problem)
}
