//! What the kernel of a network namespace counted: protocols (`/proc/net/{snmp,netstat,snmp6}`) and interfaces (rtnetlink(7)).
//!
//! Names are the kernel's: `Udp.NoPorts`, `IpExt.InCsumErrors`, `TcpExt.IPReversePathFilter`, `Ip6InAddrErrors`. For the
//! interface they are `if.rx.packets`, `if.rx.bytes`, `if.rx.errors`, `if.rx.dropped`, `if.rx.missed`, `if.rx.nohandler`,
//! `if.rx.otherhost` (Linux 5.19), `if.tx.packets`, `if.tx.bytes`, `if.tx.errors`, `if.tx.dropped`; for the loopback
//! `lo.rx.packets`; `FRAG.inuse` and `FRAG6.inuse` are the datagrams that wait for fragments. What a kernel doesn't count isn't there. No privilege. Start at [`CountersReader`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::diagnostic::{Failure, Result};
use crate::host::interface;
use crate::host::netlink::{Attributes, Channel, u64_at};
use crate::host::rtnetlink::RouteSocket;

const NETLINK_ROUTE: isize = 0;
/// One link's statistics and nothing else (Linux 4.7).
const RTM_GETSTATS: u16 = 94;
/// `struct if_stats_msg`: family u8, pad u8, pad u16, index u32, filter mask u32.
const IF_STATS_MSG: usize = 12;
/// Holds `struct rtnl_link_stats64`, an array of u64 that grows at its end.
const IFLA_STATS_LINK_64: u16 = 1;
/// The loopback is the first interface of every namespace.
const LOOPBACK_INDEX: u32 = 1;

/// As many packets as may have come: more than any run sees, and few enough to be added up.
pub const UNKNOWN: u64 = 1 << 40;

/// Where each counter stands in `struct rtnl_link_stats64` (`linux/if_link.h`), in units of 8 bytes.
const LINK_FIELDS: [(&str, usize); 11] = [
    ("if.rx.packets", 0),
    ("if.tx.packets", 1),
    ("if.rx.bytes", 2),
    ("if.tx.bytes", 3),
    ("if.rx.errors", 4),
    ("if.tx.errors", 5),
    ("if.rx.dropped", 6),
    ("if.tx.dropped", 7),
    ("if.rx.missed", 15),
    ("if.rx.nohandler", 23),
    ("if.rx.otherhost", 24),
];

/// Counters by name: as they stand, or how far they moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters(BTreeMap<Arc<str>, u64>);

impl Counters {
    /// All counters of the calling thread's network namespace and of `interface`. To read more than once, a
    /// [`CountersReader`] is ten times cheaper.
    ///
    /// # Errors
    /// As [`CountersReader::open`] and [`CountersReader::read`].
    pub fn read(interface: &str) -> Result<Self> {
        CountersReader::open(interface)?.read()
    }

    /// The counter of this name; `None` where the kernel doesn't have it (or it is a difference that is 0).
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// How far each counter moved since `before`; only those that did. One that wasn't there before began at 0; one that went down (a
    /// gauge, such as `Tcp.CurrEstab`) is left out.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let moved = |(name, now): (&Arc<str>, &u64)| {
            let moved = now.saturating_sub(before.0.get(name).copied().unwrap_or(0));
            (moved > 0).then(|| (Arc::clone(name), moved))
        };
        Self(self.0.iter().filter_map(moved).collect())
    }

    /// Every counter, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

impl<Name: Into<Arc<str>>> FromIterator<(Name, u64)> for Counters {
    fn from_iter<Pairs: IntoIterator<Item = (Name, u64)>>(pairs: Pairs) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// Reads the counters of one namespace again and again, from any thread.
///
/// A file below `/proc/thread-self/net` belongs to the namespace that the thread had when it was opened, and holds that
/// namespace: it can be read by any thread, after the opener has ended.
pub struct CountersReader {
    tables: Vec<Table>,
    links: Channel,
    /// Asks for the interface itself.
    facts: RouteSocket,
    interface: u32,
    link_names: Vec<(Arc<str>, usize)>,
    loopback_name: Arc<str>,
    buffer: Vec<u8>,
    /// Packets that came in by each interface until this was opened.
    received_before: BTreeMap<String, u64>,
    devices: File,
    name: String,
}

impl CountersReader {
    /// Opens the counters of the calling thread's network namespace and of `interface`.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface;
    /// [`Kind::Error`](crate::diagnostic::Kind::Error) when `/proc` isn't there.
    pub fn open(interface: &str) -> Result<Self> {
        let facts = interface::existing(interface)?;
        let mut tables = Vec::new();
        let files = [
            ("snmp", Form::Pairs),
            ("netstat", Form::Pairs),
            ("snmp6", Form::Lines),
            ("sockstat", Form::InUse),
            ("sockstat6", Form::InUse),
        ];
        for (name, form) in files {
            let path = format!("/proc/thread-self/net/{name}");
            match File::open(&path) {
                Ok(file) => tables.push(Table { path, file, form, names: Vec::new() }),
                // A kernel without IPv6 has neither of these.
                Err(error) if matches!(name, "snmp6" | "sockstat6") && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::system(format!("can't open `{path}`"), &error)),
            }
        }
        let path = "/proc/thread-self/net/dev";
        let devices = File::open(path).map_err(|error| Failure::system(format!("can't open `{path}`"), &error))?;
        Ok(Self {
            received_before: received(&devices)?,
            devices,
            name: interface.to_owned(),
            tables,
            links: Channel::open(NETLINK_ROUTE).map_err(|error| unanswered(&error))?,
            facts: RouteSocket::open().map_err(|error| unanswered(&error))?,
            interface: facts.index,
            link_names: LINK_FIELDS.map(|(name, field)| (name.into(), field)).to_vec(),
            loopback_name: "lo.rx.packets".into(),
            buffer: vec![0; 32 << 10],
        })
    }

    /// Whether an XDP program is attached to the interface now; `false` where the interface is gone.
    pub fn has_xdp(&mut self) -> bool {
        matches!(self.facts.link_by_index(self.interface), Ok(Some(facts)) if facts.xdp)
    }

    /// Packets that came in by other interfaces than this one and the loopback since this was opened; [`UNKNOWN`] where an interface is
    /// gone, whose packets are not known.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn others(&self) -> Result<u64> {
        let now = received(&self.devices)?;
        let is_other = |name: &str| name != "lo" && name != self.name;
        if self.received_before.keys().any(|name| is_other(name) && !now.contains_key(name)) {
            return Ok(UNKNOWN);
        }
        let moved = now.iter().filter(|(name, _)| is_other(name));
        Ok(moved.map(|(name, count)| count.saturating_sub(self.received_before.get(name).copied().unwrap_or(0))).sum())
    }

    /// The counters as they stand. Those of an interface that is gone are absent.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn read(&mut self) -> Result<Counters> {
        let mut found = Vec::with_capacity(512);
        for table in &mut self.tables {
            table
                .read(&mut self.buffer, &mut found)
                .map_err(|error| Failure::system(format!("can't read `{}`", table.path), &error))?;
        }
        let statistics = link_statistics(&mut self.links, self.interface).map_err(|error| unanswered(&error))?;
        for (name, field) in &self.link_names {
            found.extend(u64_at(&statistics, field * 8).map(|value| (Arc::clone(name), value)));
        }
        let statistics = link_statistics(&mut self.links, LOOPBACK_INDEX).map_err(|error| unanswered(&error))?;
        found.extend(u64_at(&statistics, 0).map(|value| (Arc::clone(&self.loopback_name), value)));
        Ok(Counters(found.into_iter().collect()))
    }
}

fn unanswered(error: &io::Error) -> Failure {
    Failure::system("can't ask for the counters of an interface", error)
}

/// `/proc/net/dev`: a line for each interface, with its name, a colon, and what it received: bytes, packets and so on.
fn received(file: &File) -> Result<BTreeMap<String, u64>> {
    let (mut text, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        let read = file.read_at(&mut buffer, text.len() as u64).map_err(|error| unanswered(&error))?;
        if read == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..read]);
    }
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        Some((name.trim().to_owned(), numbers.split_ascii_whitespace().nth(1)?.parse().ok()?))
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(line).collect())
}

/// `struct rtnl_link_stats64` as this kernel has it; empty when the interface is gone.
fn link_statistics(links: &mut Channel, index: u32) -> io::Result<Vec<u8>> {
    let mut body = [0; IF_STATS_MSG];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&(1u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    match links.one(RTM_GETSTATS, &body) {
        Ok((_, payload)) => {
            let mut attributes = Attributes(payload.get(IF_STATS_MSG..).unwrap_or_default());
            let statistics = attributes.find(|(kind, _)| *kind == IFLA_STATS_LINK_64);
            Ok(statistics.map_or_else(Vec::new, |(_, statistics)| statistics.to_vec()))
        }
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// How a file is written.
#[derive(Clone, Copy)]
enum Form {
    /// Two lines a protocol: `Udp: InDatagrams NoPorts …`, `Udp: 5 0 …`.
    Pairs,
    /// A line a counter: `Ip6InReceives   1`.
    Lines,
    /// A line a protocol, of which the first number counts: `FRAG: inuse 0 memory 0`.
    InUse,
}

/// One open file, and the names that it had when last read: they don't change while a kernel runs, so that only numbers are read.
struct Table {
    path: String,
    file: File,
    form: Form,
    names: Vec<Named>,
}

/// One line of names.
struct Named {
    line: String,
    names: Vec<Arc<str>>,
}

impl Table {
    fn read(&mut self, buffer: &mut Vec<u8>, found: &mut Vec<(Arc<str>, u64)>) -> io::Result<()> {
        // One read gives the whole file (the kernel writes each as one record), and all of one time.
        let length = loop {
            let length = self.file.read_at(buffer, 0)?;
            if length < buffer.len() {
                break length;
            }
            buffer.resize(buffer.len() * 2, 0);
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let mut lines = text.lines();
        let mut row = 0;
        while let Some(line) = lines.next() {
            let (name_text, value_text) = match self.form {
                Form::Pairs => {
                    (line, lines.next().and_then(|values| values.split_once(' ')).map_or("", |(_, rest)| rest))
                }
                Form::Lines => line.split_once(char::is_whitespace).unwrap_or((line, "")),
                Form::InUse => line.split_once(" inuse ").unwrap_or((line, "")),
            };
            if self.names.get(row).is_none_or(|known| known.line != name_text) {
                self.names.truncate(row);
                self.names.push(Named { line: name_text.to_owned(), names: self.form.names(name_text) });
            }
            // `Tcp.MaxConn` is -1, and no counter.
            let values = value_text.split_ascii_whitespace().map(|value| value.parse().ok());
            let pairs = self.names[row].names.iter().zip(values);
            found.extend(pairs.filter_map(|(name, value)| Some((Arc::clone(name), value?))));
            row += 1;
        }
        Ok(())
    }
}

impl Form {
    fn names(self, line: &str) -> Vec<Arc<str>> {
        match (self, line.split_once(": ")) {
            (Self::Pairs, Some((protocol, names))) => {
                names.split_ascii_whitespace().map(|name| format!("{protocol}.{name}").into()).collect()
            }
            (Self::Pairs, None) => Vec::new(),
            (Self::Lines, _) => vec![line.into()],
            (Self::InUse, _) => vec![format!("{}.inuse", line.trim_end_matches(':')).into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_keeps_what_moved_and_begins_absent_ones_at_0() {
        let before: Counters = [("Udp.NoPorts", 3), ("Udp.InDatagrams", 7), ("Tcp.CurrEstab", 2)].into_iter().collect();
        let after: Counters = [("Udp.NoPorts", 5), ("Udp.InDatagrams", 7), ("Tcp.CurrEstab", 1), ("if.rx.packets", 4)]
            .into_iter()
            .collect();
        let moved: Vec<_> = after.since(&before).iter().map(|(name, by)| format!("{name}+{by}")).collect();
        assert_eq!(moved, ["Udp.NoPorts+2", "if.rx.packets+4"]);
        assert_eq!(after.since(&before).get("Udp.InDatagrams"), None);
    }

    #[test]
    fn this_machine_has_the_counters_that_losses_are_explained_by() {
        let counters = Counters::read("lo").unwrap();
        for name in
            ["Udp.NoPorts", "Ip.InAddrErrors", "IpExt.InCsumErrors", "TcpExt.IPReversePathFilter", "if.rx.packets"]
        {
            assert!(counters.get(name).is_some(), "no {name}");
        }
        assert_eq!(counters.get("Tcp.MaxConn"), None);
    }
}
