//! What a row of the suite says: how its frames are made, in which lab they meet which receiver, and what the ledger has to tell.
//!
//! Start at [`Row`]; `ipv4.rs`, `ipv6.rs`, `transport.rs` and `firewall.rs` hold the rows.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use restage::Stage;

use crate::frames::{Captured, Packet};

/// Where the table's "5 frames a case" comes from.
const FRAMES: usize = 5;

/// One case of the table.
pub(crate) struct Row {
    /// Its name there.
    pub(crate) name: &'static str,
    pub(crate) how: How,
}

/// Whether restage's lab can have it.
pub(crate) enum How {
    Provoked(Box<Case>),
    /// With the reason.
    NotProvoked(&'static str),
}

/// A capture, a scenario and what it has to come to.
pub(crate) struct Case {
    pub(crate) frames: Vec<Captured>,
    capture: &'static str,
    lab: Lab,
    receiver: Receiver,
    settle: Option<&'static str>,
    commands: Vec<&'static str>,
    /// Why only root can have it.
    pub(crate) root_only: Option<&'static str>,
    pub(crate) expected: Expected,
    /// Why the plan can't know what the run shows.
    pub(crate) not_predicted: Option<&'static str>,
}

/// The words of `[lab]` beside `mac`.
struct Lab {
    mtu: u32,
    addresses: &'static str,
    routes: &'static str,
    sysctl: Vec<(&'static str, u32)>,
    ruleset: Option<&'static str>,
}

/// `[receiver]`.
enum Receiver {
    /// None: one socket for each destination port.
    BuiltIn,
    /// The built-in one, that listens elsewhere.
    Listens(&'static str),
    /// This suite's own program: its kind, what it binds, by which socket one sees that it is ready, and what a shell does before it.
    Program { kind: &'static str, address: &'static str, ready: Option<&'static str>, before: Option<&'static str> },
}

/// What a run comes to.
pub(crate) enum Expected {
    /// Nothing is sent; the message has these words.
    Refused(&'static str),
    /// Every frame that isn't in `losses` comes to the last stage.
    Ledger { losses: Vec<Loss>, udp: bool },
}

/// Frames that are lost.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) cause: &'static str,
    pub(crate) stage: Stage,
    pub(crate) packets: RangeInclusive<u64>,
    /// Which, where that is the same in each run.
    pub(crate) frames: Option<String>,
    pub(crate) evidence: Said,
}

/// Who can say the cause to root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// The kernel, by the reason's name.
    ByKernel,
    /// The kernel has no reason for it, or none of its own.
    Otherwise,
}

/// The frames of a row, five of a kind: in a lab with a receiver that gets them all.
pub(crate) fn row(name: &'static str, packet: &Packet) -> Row {
    of(name, packet.times(FRAMES))
}

/// The same with these frames.
pub(crate) fn of(name: &'static str, frames: Vec<Captured>) -> Row {
    let lab = Lab {
        mtu: 1500,
        addresses: "[\"10.9.0.2/24\", \"fd09::2/64\"]",
        routes: "\"sources\"",
        sysctl: Vec::new(),
        ruleset: None,
    };
    let case = Case {
        frames,
        capture: "",
        lab,
        receiver: Receiver::BuiltIn,
        settle: None,
        commands: Vec::new(),
        root_only: None,
        expected: Expected::Ledger { losses: Vec::new(), udp: true },
        not_predicted: None,
    };
    Row { name, how: How::Provoked(Box::new(case)) }
}

/// A row that restage's lab can't have.
pub(crate) fn not_provoked(name: &'static str, why: &'static str) -> Row {
    Row { name, how: How::NotProvoked(why) }
}

impl Row {
    fn with(mut self, change: impl FnOnce(&mut Case)) -> Self {
        if let How::Provoked(case) = &mut self.how {
            change(case);
        }
        self
    }

    /// A line of `[capture]`.
    pub(crate) fn capture(self, line: &'static str) -> Self {
        self.with(|case| case.capture = line)
    }

    pub(crate) fn mtu(self, mtu: u32) -> Self {
        self.with(|case| case.lab.mtu = mtu)
    }

    /// The receiver's addresses, as TOML.
    pub(crate) fn addresses(self, addresses: &'static str) -> Self {
        self.with(|case| case.lab.addresses = addresses)
    }

    /// No way back but to the networks of its addresses.
    pub(crate) fn no_routes(self) -> Self {
        self.with(|case| case.lab.routes = "[]")
    }

    pub(crate) fn sysctl(self, key: &'static str, value: u32) -> Self {
        self.with(|case| case.lab.sysctl.push((key, value)))
    }

    pub(crate) fn ruleset(self, ruleset: &'static str) -> Self {
        self.with(|case| {
            case.lab.ruleset = Some(ruleset);
            case.commands.push("nft");
        })
    }

    pub(crate) fn listens(self, socket: &'static str) -> Self {
        self.with(|case| case.receiver = Receiver::Listens(socket))
    }

    /// An application of this suite's.
    pub(crate) fn program(self, kind: &'static str, address: &'static str) -> Self {
        self.with(|case| case.receiver = Receiver::Program { kind, address, ready: None, before: None })
    }

    /// The socket by which one sees that the application is ready, where that isn't the one that it binds.
    pub(crate) fn ready_by(self, socket: &'static str) -> Self {
        self.with(|case| {
            if let Receiver::Program { ready, .. } = &mut case.receiver {
                *ready = Some(socket);
            }
        })
    }

    /// An application that changes the machine before it listens, which takes root.
    pub(crate) fn program_after(self, command: &'static str) -> Self {
        let program = command.split(' ').next().expect("a command has a first word");
        self.with(|case| {
            case.receiver =
                Receiver::Program { kind: "plain", address: "[::]:9999", ready: None, before: Some(command) };
            case.commands.push(program);
            case.root_only = Some("an application has no capability when restage is run by an ordinary user");
        })
    }

    pub(crate) fn settle(self, settle: &'static str) -> Self {
        self.with(|case| case.settle = Some(settle))
    }

    pub(crate) fn not_predicted(self, why: &'static str) -> Self {
        self.with(|case| case.not_predicted = Some(why))
    }

    /// The scenario is refused.
    pub(crate) fn refused(self, words: &'static str) -> Self {
        self.with(|case| case.expected = Expected::Refused(words))
    }

    /// No UDP datagram is among the frames: nothing is known of sockets.
    pub(crate) fn no_udp(self) -> Self {
        self.with(|case| {
            if let Expected::Ledger { udp, .. } = &mut case.expected {
                *udp = false;
            }
        })
    }

    /// All frames are lost.
    pub(crate) fn loses(self, cause: &'static str, stage: Stage) -> Self {
        let frames = self.frames();
        self.loses_of(cause, stage, frames..=frames, Some(format!("1-{frames}")))
    }

    /// Some of the frames are lost.
    pub(crate) fn loses_of(
        self,
        cause: &'static str,
        stage: Stage,
        packets: RangeInclusive<u64>,
        frames: Option<String>,
    ) -> Self {
        self.with(|case| {
            if let Expected::Ledger { losses, .. } = &mut case.expected {
                losses.push(Loss { cause, stage, packets, frames, evidence: Said::ByKernel });
            }
        })
    }

    /// The kernel has no reason of its own for the losses so far.
    pub(crate) fn without_reason(self) -> Self {
        self.with(|case| {
            if let Expected::Ledger { losses, .. } = &mut case.expected {
                for loss in losses {
                    loss.evidence = Said::Otherwise;
                }
            }
        })
    }

    fn frames(&self) -> u64 {
        match &self.how {
            How::Provoked(case) => case.frames.len() as u64,
            How::NotProvoked(_) => 0,
        }
    }

    /// The name as that of a file.
    pub(crate) fn slug(&self) -> String {
        let mut slug = String::new();
        for character in self.name.to_lowercase().chars() {
            if character.is_ascii_alphanumeric() {
                slug.push(character);
            } else if !slug.ends_with('-') {
                slug.push('-');
            }
        }
        slug.trim_end_matches('-').to_owned()
    }
}

impl Case {
    /// The scenario for the capture of this name; `program` is this suite's receiver.
    pub(crate) fn scenario(&self, capture: &str, program: &str) -> String {
        let mut text = format!("format = 1\n[capture]\nfile = \"{capture}\"\n{}\n", self.capture);
        let lab = &self.lab;
        let sysctl: Vec<String> = lab.sysctl.iter().map(|(key, value)| format!("\"{key}\" = {value}")).collect();
        let mut lines = vec![
            "[lab]\nmac = \"02:00:00:00:00:02\"".to_owned(),
            format!("mtu = {}", lab.mtu),
            format!("addresses = {}", lab.addresses),
            format!("routes = {}", lab.routes),
            format!("sysctl = {{ {} }}", sysctl.join(", ")),
        ];
        lines.extend(lab.ruleset.map(|ruleset| format!("ruleset = '''\n{ruleset}'''")));
        // One by one: as a card that isn't in a hurry sends.
        lines.push("[pacing]\nrate = \"every 200us\"\n[expect]\narrived = \"all\"".to_owned());
        if !self.commands.is_empty() {
            lines.push(format!("[require]\ncommands = {:?}", self.commands));
        }
        match &self.receiver {
            Receiver::BuiltIn => {}
            Receiver::Listens(socket) => lines.push(format!("[receiver]\nlistens = [\"{socket}\"]")),
            Receiver::Program { kind, address, ready, before } => {
                let listens = match (*ready, *address) {
                    (Some(socket), _) => socket.to_owned(),
                    (None, "0.0.0.0:9999" | "[::]:9999") => "udp:9999".to_owned(),
                    (None, address) => format!("udp:{address}"),
                };
                let verb = crate::receiver::VERB;
                let command = match before {
                    None => format!("[\"{program}\", \"{verb}\", \"{kind}\", \"{address}\"]"),
                    Some(before) => {
                        let script = format!("{before} && exec \\\"$0\\\" {verb} {kind} {address}");
                        format!("[\"sh\", \"-c\", \"{script}\", \"{program}\"]")
                    }
                };
                lines.push(format!("[receiver]\ncommand = {command}\nlistens = [\"{listens}\"]"));
            }
        }
        lines.extend(self.settle.map(|settle| format!("settle = \"{settle}\"")));
        for line in lines {
            let _infallible = writeln!(text, "{line}");
        }
        text
    }
}
