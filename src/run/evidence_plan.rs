//! How closely a run looks into the receiver's stack: as the command line says, else as the rate allows. Start at [`EvidencePlan`].

use std::collections::BTreeSet;

use crate::figures::{count, pps};
use crate::host::facts::{Facts, Standing, capability};
use crate::outcome::{EvidenceLevel, Layers};
use crate::plan::Brief;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::scenario::topology::Topology;
use crate::wire::trace;

/// Up to this rate each packet is tapped at each hook, in frames a second, where packets can't be followed by the kernel's tracepoints;
/// above, packets are counted there, if the lab has a ruleset that may drop some. Without one counting at the input hook is enough,
/// and counting at all hooks costs a tenth of the top speed.
const MOST_TAPPED_PPS: f64 = 20_000.0;
/// Up to this rate packets are followed, in frames a second.
const MOST_FOLLOWED_PPS: f64 = 120_000.0;
/// So few frames are looked at one by one at any rate: their records have room wherever they wait.
const FEW: u64 = 1_000;
/// At top speed, the most records of dropped packets per drop reason; all are counted.
const MOST_RECORDS: u32 = 256;
/// The most ports of the capture that the receiver's own datagrams are compared with; each port is a rule.
const MOST_PORTS: usize = 64;

/// What helps where packets come too fast to be followed.
pub(super) const MORE_SLOWLY: &str = "send more slowly (`[pacing] rate`), so that each packet can be followed";

/// How closely the receiver's stack is looked at.
pub(super) struct EvidencePlan<'a> {
    /// What the command line says; `None`: as the rate allows.
    asked: Option<EvidenceLevel>,
    /// Frames a second; infinite where only the machine sets a limit.
    pps: f64,
    /// Whether there are so few frames that their rate doesn't matter.
    few: bool,
    /// Whether the receiver has a ruleset.
    filtered: bool,
    /// What restage may do.
    facts: &'a Facts,
    /// How many frames come in; `None` where others send, too, or frames are repeated as long as it takes.
    pub(super) frames: Option<u64>,
    /// Whether nothing may be changed, so that there are no taps.
    untouched: bool,
    /// The capture's UDP ports; `None` where they are too many.
    pub(super) ports: Option<Vec<u16>>,
}

impl<'a> EvidencePlan<'a> {
    /// As closely as the rate allows, if the command line says nothing else.
    pub(super) fn choose(
        scenario: &Scenario,
        brief: &Brief,
        rate: Rate,
        asked: Option<EvidenceLevel>,
        facts: &'a Facts,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "frames of a capture are far below 2^53")]
        let frames = brief.frames as f64;
        let pps = brief.duration.map_or(f64::INFINITY, |duration| frames / duration.as_secs_f64());
        let is_lab = matches!(scenario.topology, Topology::Lab(_));
        let ports: BTreeSet<u16> = brief.udp_ports.iter().map(|(port, _)| *port).collect();
        Self {
            asked,
            pps: if rate == Rate::MaxLossless { f64::INFINITY } else { pps },
            few: brief.frames <= FEW && rate != Rate::MaxLossless,
            facts,
            frames: Some(brief.frames).filter(|_| is_lab && rate != Rate::MaxLossless),
            untouched: false,
            filtered: scenario.has_ruleset() || brief.has_firewall,
            ports: (ports.len() <= MOST_PORTS).then(|| ports.into_iter().collect()),
        }
    }

    /// The same without taps, which are rules of nftables.
    pub(super) fn untouched(self) -> Self {
        Self { untouched: true, frames: None, ..self }
    }

    /// What the kernel's tracepoints are asked for, or why nothing is.
    pub(super) fn trace(&self) -> std::result::Result<trace::Mode, String> {
        match self.asked {
            Some(EvidenceLevel::Off) => Err("the command line says so".to_owned()),
            Some(EvidenceLevel::Input | EvidenceLevel::Counters) => Ok(trace::Mode::Drops { most_records: None }),
            Some(EvidenceLevel::Packets) => Ok(trace::Mode::Packets),
            None if self.few || self.pps <= MOST_FOLLOWED_PPS => Ok(trace::Mode::Packets),
            // At top speed a record costs as much as the rest of the loss: there are enough to name the places.
            None => Ok(trace::Mode::Drops { most_records: Some(MOST_RECORDS) }),
        }
    }

    /// What to do so that each packet is followed; `None` where each is, or nothing that the user can do now helps.
    pub(super) fn closer(&self, layers: &Layers) -> Option<&'static str> {
        let may = |number| self.facts.standing(number) == Standing::Effective;
        let is_allowed = may(capability::SYS_ADMIN) || may(capability::BPF) && may(capability::PERFMON);
        match self.asked {
            _ if layers.followed => None,
            Some(EvidenceLevel::Off | EvidenceLevel::Input | EvidenceLevel::Counters) => {
                Some("run it without `--evidence`")
            }
            _ if !is_allowed && self.facts.uid == 0 => Some(
                "give root CAP_BPF and CAP_PERFMON over the machine (a container: `--cap-add BPF --cap-add PERFMON`, with Docker before 23 `--cap-add SYS_ADMIN`, and no user namespace)",
            ),
            _ if !is_allowed => Some("run it as root, where the kernel reports what it does with each packet"),
            _ if layers.kernel => Some(MORE_SLOWLY),
            _ => None,
        }
    }

    /// How the taps look, and why so. `followed`: whether the tracepoints follow each packet.
    pub(super) fn taps(&self, followed: bool) -> (EvidenceLevel, String) {
        if self.untouched {
            return (EvidenceLevel::Off, "nothing is changed on a machine that is watched".to_owned());
        }
        let above = || format!("more than {}", pps(MOST_TAPPED_PPS));
        match self.asked {
            // What passed the input hook is counted in any case: the ledger needs it.
            Some(EvidenceLevel::Off) => (EvidenceLevel::Input, "the command line says so".to_owned()),
            Some(asked) => (asked, "the command line says so".to_owned()),
            None if followed => {
                let closer = self.filtered || self.few || self.pps <= MOST_TAPPED_PPS;
                let tapping = if closer { EvidenceLevel::Counters } else { EvidenceLevel::Input };
                (tapping, "each packet is followed by the kernel's tracepoints".to_owned())
            }
            None if self.pps <= MOST_TAPPED_PPS => {
                (EvidenceLevel::Packets, format!("at most {}", pps(MOST_TAPPED_PPS)))
            }
            None if self.few => (EvidenceLevel::Packets, format!("at most {}", count(FEW, "frame"))),
            None if self.filtered => (EvidenceLevel::Counters, above()),
            None => (EvidenceLevel::Input, format!("{}, and no ruleset in the lab", above())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EvidenceLevel, EvidencePlan, Facts, Layers, MORE_SLOWLY, capability};

    fn layers(followed: bool, kernel: bool) -> Layers {
        Layers { followed, kernel, ..Layers::default() }
    }

    #[test]
    fn what_brings_more_evidence_is_never_what_is_so_already() {
        let tracing = 1 << capability::BPF | 1 << capability::PERFMON;
        let of = |capabilities, over_machine: bool, root: bool| Facts {
            capabilities,
            in_user_namespace: !over_machine,
            uid: u32::from(!root),
            ..Facts::default()
        };
        let cases = [
            // Without any right, as a user and as one with the two capabilities.
            (None, of(0, true, false), false, Some("run it as root")),
            (None, of(tracing, true, false), false, None),
            (None, of(tracing, true, false), true, Some(MORE_SLOWLY)),
            // Root of the machine, of a container without the capabilities, of a user namespace.
            (None, of(u64::MAX, true, true), false, None),
            (None, of(u64::MAX, true, true), true, Some(MORE_SLOWLY)),
            (None, of(0, true, true), false, Some("give root CAP_BPF")),
            (None, of(u64::MAX, false, true), false, Some("give root CAP_BPF")),
            // Whoever asked for less gets more by not asking.
            (Some(EvidenceLevel::Off), of(u64::MAX, true, true), false, Some("run it without `--evidence`")),
            (Some(EvidenceLevel::Packets), of(u64::MAX, true, true), false, None),
        ];
        for (asked, facts, kernel, helps) in &cases {
            let level = EvidencePlan {
                asked: *asked,
                pps: 1.0,
                few: true,
                filtered: false,
                facts,
                frames: None,
                untouched: false,
                ports: None,
            };
            let said = level.closer(&layers(false, *kernel));
            let is_right = said.map_or(helps.is_none(), |said| helps.is_some_and(|helps| said.starts_with(helps)));
            assert!(is_right, "{asked:?}, kernel {kernel}: {said:?} instead of {helps:?}");
            assert_eq!(level.closer(&layers(true, *kernel)), None);
        }
    }
}
