//! `--evidence`: how closely a run looks into the receiver's stack.

use crate::outcome::Tapping;

/// How closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Closeness {
    /// Each packet at each hook where the rate allows it, else counters; and the kernel's drop reasons.
    #[default]
    Auto,
    /// Each packet at each hook, whatever the rate; and the kernel's drop reasons.
    Packets,
    /// How many packets passed each hook; and the kernel's drop reasons.
    Counters,
    /// Neither taps nor drop reasons: the namespace's own counters and the prediction are left.
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
