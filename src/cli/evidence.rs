//! `--evidence`: how closely a run looks into the receiver's stack.

use crate::outcome::Tapping;

/// How closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Closeness {
    /// As root, follow each packet to its reader or its drop; else record each packet at each hook. At high rates, count only.
    #[default]
    Auto,
    /// Record each packet at each hook at any rate; as root, follow each packet as well.
    Packets,
    /// Count the packets that pass each hook; as root, record the kernel's drop reasons.
    Counters,
    /// Count only the packets that pass the input hook.
    Off,
}

impl Closeness {
    /// The word on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Packets => "packets",
            Self::Counters => "counters",
            Self::Off => "off",
        }
    }
}

impl From<Closeness> for Option<Tapping> {
    fn from(closeness: Closeness) -> Self {
        match closeness {
            Closeness::Auto => None,
            Closeness::Packets => Some(Tapping::Packets),
            Closeness::Counters => Some(Tapping::Counters),
            Closeness::Off => Some(Tapping::Off),
        }
    }
}
