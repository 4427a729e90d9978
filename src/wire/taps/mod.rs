//! How far packets came in the receiver's stack: chains of our own in nf_tables (nft(8)), which count at each [`Hook`] and, if asked,
//! send a copy of each packet's head (`nfnetlink_log`). They accept everything.
//!
//! Needs `CAP_NET_ADMIN` over the network namespace and no program. Start at [`Taps::install`]; `ruleset` writes the chains and reads
//! their counters, `log` reads the copies.
//!
//! What lies between two hooks, and so what a packet died of that passed only the first:
//!
//! | from | to | between |
//! |---|---|---|
//! | the wire | ingress | XDP and tc programs of the application, generic receive offload |
//! | ingress | prerouting first | the MAC address, the IP header (length, checksum), the protocol: ARP has no further hook |
//! | prerouting first | prerouting last | rules, connection tracking, defragmentation where that is on |
//! | prerouting last | input first | routing: martians, `rp_filter`, addresses that aren't local; IPv4 defragmentation |
//! | input first | input last | rules |
//! | input last | a socket | the UDP header and checksum, the socket and its buffer |
//!
//! So an IPv4 datagram in fragments passes prerouting once for each and input once, an IPv6 one passes every hook once for each.

mod log;
mod ruleset;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use log::Log;

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::OWN_TABLE;
use crate::host::interface;
use crate::host::netlink::Channel;
use crate::outcome::{EvidenceLevel, Hook};
use crate::wire::closing::Left;

const NETLINK_NETFILTER: isize = 12;
/// Bytes of a packet, from its network header on, that a record holds at most.
pub const RECORD_BYTES: u16 = 160;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// Packets from outside that passed this hook.
    Hook(Hook),
    /// UDP packets from outside that passed [`Hook::InputLast`]; each fragment counts where it isn't reassembled yet (IPv6).
    Udp,
    /// UDP packets that the receiver sent to itself, over `lo` or looped back, behind the input hook.
    OwnUdp,
    /// Those of them that were looped back: its own multicast and broadcast.
    OwnUdpLooped,
    /// Those of [`Self::OwnUdp`] that go to one of the given ports.
    OwnUdpToPorts,
    /// Those of [`Self::OwnUdp`] that came in by another interface and are for this host alone: others sent them.
    ForeignUdp,
    /// ICMP "port unreachable" messages over `lo`: the receiver's own datagrams to closed ports. The kernel limits their rate elsewhere,
    /// but not on `lo`.
    ClosedPorts,
}

impl Tally {
    const ALL: [Self; 12] = [
        Self::Hook(Hook::Ingress),
        Self::Hook(Hook::PreroutingFirst),
        Self::Hook(Hook::PreroutingLast),
        Self::Hook(Hook::InputFirst),
        Self::Hook(Hook::InputLast),
        Self::Hook(Hook::Forward),
        Self::Udp,
        Self::OwnUdp,
        Self::OwnUdpLooped,
        Self::OwnUdpToPorts,
        Self::ClosedPorts,
        Self::ForeignUdp,
    ];

    /// Its place in [`Self::ALL`].
    fn place(self) -> u8 {
        match self {
            Self::Hook(Hook::Ingress) => 0,
            Self::Hook(Hook::PreroutingFirst) => 1,
            Self::Hook(Hook::PreroutingLast) => 2,
            Self::Hook(Hook::InputFirst) => 3,
            Self::Hook(Hook::InputLast) => 4,
            Self::Hook(Hook::Forward) => 5,
            Self::Udp => 6,
            Self::OwnUdp => 7,
            Self::OwnUdpLooped => 8,
            Self::OwnUdpToPorts => 9,
            Self::ClosedPorts => 10,
            Self::ForeignUdp => 11,
        }
    }

    fn at(place: u8) -> Option<Self> {
        Self::ALL.get(usize::from(place)).copied()
    }
}

/// Packets by what they are counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([u64; Tally::ALL.len()]);

impl Counts {
    /// Packets at this hook.
    pub fn get(&self, hook: Hook) -> u64 {
        self.of(Tally::Hook(hook))
    }

    /// Packets of this kind.
    pub fn of(&self, tally: Tally) -> u64 {
        self.0[usize::from(tally.place())]
    }

    /// How many came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place].saturating_sub(before.0[place])))
    }

    fn add(&mut self, tally: Tally, packets: u64) {
        self.0[usize::from(tally.place())] += packets;
    }
}

/// Whether everything that comes into the namespace from outside comes by the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// It does: the namespace is restage's own.
    Own,
    /// It does not. What others send counts as the receiver's own, and of UDP as [`Tally::ForeignUdp`].
    Others,
}

/// What [`Taps::install`] came to.
#[derive(Debug)]
pub enum Installed {
    /// They look from now on.
    Taps(Taps),
    /// This kernel has none, or doesn't let us have them: why, as a fragment of a sentence.
    Absent(String),
}

/// The chains of one network namespace. Any thread may use them; they are removed when this is dropped.
#[derive(Debug)]
pub struct Taps {
    /// Why there are no copies of packets, although they were asked for: a fragment of a sentence. The counters are there.
    pub no_records: Option<String>,
    /// Where the chains are.
    hooks: Vec<Hook>,
    channel: Left<Channel>,
    table: String,
    log: Log,
}

impl Taps {
    /// Puts the chains into the calling thread's network namespace. What came in from outside is counted apart from what the receiver
    /// sent to itself; only the ingress hook is that of `interface` alone. Below [`EvidenceLevel::Counters`] there is a chain at
    /// [`Hook::InputLast`] only, which costs a fast sender little. `ports` are for [`Tally::OwnUdpToPorts`]. `frames`: how many
    /// come, where that is known: copies of few packets don't wait for others.
    ///
    /// Each installation has tables of its own, named `restage-` and a number. From Linux 5.12 on they belong to our socket
    /// (`NFT_TABLE_F_OWNER`): `nft flush ruleset` leaves them alone, and they go when this process ends, however it ends. Before,
    /// a process that was killed leaves them behind in a namespace that lives on: among others there are no taps then.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface;
    /// [`Kind::Error`](crate::diagnostic::Kind::Error) when the kernel refuses chains that it knows.
    pub fn install(
        interface: &str,
        level: EvidenceLevel,
        ports: &[u16],
        among: Among,
        frames: Option<u64>,
    ) -> Result<Installed> {
        let device = interface::existing(interface)?;
        let hooks = if level < EvidenceLevel::Counters { vec![Hook::InputLast] } else { Hook::ALL.to_vec() };
        let mut channel = match Channel::open(NETLINK_NETFILTER) {
            Ok(channel) => channel,
            Err(error) => {
                return absent_or_failed(&ruleset::Unloaded { what: "be reached".to_owned(), error, is_table: false });
            }
        };
        let table = format!("{OWN_TABLE}{}", channel.port());
        let failed = |error: io::Error| Failure::system("can't wait for copies of packets (epoll)", &error);
        let mut log = Log::none().map_err(failed)?;
        let mut no_records = None;
        if level == EvidenceLevel::Packets {
            match log.bind_all(frames) {
                Ok(()) => {}
                Err(error) => {
                    no_records = Some(format!("this kernel sends no copies of packets (nfnetlink_log): {error}"));
                    log = Log::none().map_err(failed)?;
                }
            }
        }
        let mut loaded = ruleset::load(&mut channel, &table, &device, &hooks, &log.groups(), ports, among);
        if let Err(unloaded) = &loaded
            && !log.groups().is_empty()
            && unloaded.absent()
        {
            // Counting alone is done by other code of the kernel.
            let reason = format!("this kernel's nf_tables can't {}: {}", unloaded.what, unloaded.error);
            log = Log::none().map_err(failed)?;
            loaded = ruleset::load(&mut channel, &table, &device, &hooks, &[], ports, among);
            no_records = Some(reason);
        }
        match loaded {
            Ok(()) => Ok(Installed::Taps(Self { no_records, hooks, channel: Left::new(channel), table, log })),
            Err(unloaded) => absent_or_failed(&unloaded),
        }
    }

    /// Packets that passed each hook since the taps were installed. Costs two questions to the kernel.
    ///
    /// # Errors
    /// When the kernel doesn't answer, or another program has removed the chains.
    pub fn counts(&mut self) -> Result<Counts> {
        let counted = ruleset::counters(&mut self.channel, &self.table)
            .map_err(|error| Failure::system("can't read the counters of our nftables chains", &error))?;
        let mut counts = Counts::default();
        for (tally, packets) in &counted {
            counts.add(*tally, *packets);
            if *tally == Tally::Udp {
                counts.add(Tally::Hook(Hook::InputLast), *packets);
            }
        }
        let is_there = |hook: &Hook| counted.iter().any(|(tally, _)| *tally == Tally::Hook(*hook));
        let missing: Vec<_> = self
            .hooks
            .iter()
            .filter(|hook| !is_there(hook))
            .map(|hook| format!("`{}`", ruleset::chain(*hook)))
            .collect();
        if missing.is_empty() {
            return Ok(counts);
        }
        Err(Failure::error(
            Diagnostic::error(format!("our nftables chains {} are gone", missing.join(", ")))
                .why(format!(
                    "another program removed them from the tables `{}`, as `nft flush ruleset` does",
                    self.table
                ))
                .fix("let the application under test remove its own tables only"),
        ))
    }

    /// Reads what has come, without waiting: `see` gets the hook and the packet's first bytes from its network header on, at most
    /// [`RECORD_BYTES`] of them. Returns how many; 0 when there is nothing more for now, and always in [`EvidenceLevel::Counters`].
    ///
    /// The order is that of the packets at each hook, not from hook to hook. The kernel gathers up to 64 records of a hook, for at most
    /// 10 ms or one tick: after the last packet, poll for 20 ms.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn read(&mut self, see: &mut dyn FnMut(Hook, &[u8])) -> Result<usize> {
        self.log.read(see).map_err(|error| Failure::system("can't read copies of packets (nfnetlink_log)", &error))
    }

    /// The hooks that have a chain.
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Records that were read, at each hook.
    pub fn received(&self) -> Counts {
        self.log.received()
    }

    /// Records that the kernel made and could not deliver, as far as is known: those after the last one that was delivered are found
    /// out by the next one, and are 1 for each hook until then. [`Self::counts`] less [`Self::received`] knows them all.
    #[cfg(test)]
    pub fn lost(&self) -> u64 {
        self.log.lost()
    }
}

impl AsFd for Taps {
    /// Readable when there are records.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.log.as_fd()
    }
}

impl Drop for Taps {
    fn drop(&mut self) {
        ruleset::unload(&mut self.channel, &self.table);
    }
}

fn absent_or_failed(unloaded: &ruleset::Unloaded) -> Result<Installed> {
    let ruleset::Unloaded { what, error, .. } = unloaded;
    if unloaded.refused() {
        return Ok(Installed::Absent(
            "nftables chains need CAP_NET_ADMIN in the user namespace that owns this network namespace".to_owned(),
        ));
    }
    if unloaded.absent() {
        return Ok(Installed::Absent(format!("this kernel's nf_tables can't {what}: {error}")));
    }
    Err(Failure::system(format!("can't install nftables chains: nf_tables can't {what}"), error))
}

/// `struct nfgenmsg`, before the attributes: family u8, version u8 (0), resource u16 in the network's order.
fn netfilter_header(family: u8, resource: u16) -> Vec<u8> {
    [&[family, 0][..], &resource.to_be_bytes()].concat()
}

/// The attributes after `struct nfgenmsg`.
fn after_header(payload: &[u8]) -> &[u8] {
    payload.get(4..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tally_has_its_place() {
        assert_eq!(Tally::ALL.map(Tally::place), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_difference_is_taken_at_each_hook() {
        let (mut before, mut after) = (Counts::default(), Counts::default());
        before.add(Tally::Hook(Hook::Ingress), 3);
        after.add(Tally::Hook(Hook::Ingress), 5);
        after.add(Tally::Hook(Hook::Forward), 1);
        assert_eq!(Hook::ALL.map(|hook| after.since(&before).get(hook)), [2, 0, 0, 0, 0, 1]);
    }
}
