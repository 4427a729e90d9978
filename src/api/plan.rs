//! What a run would do, as data.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cause::{Cause, Stage};
use crate::diagnostic::{Diagnostic, Place, Result, Severity};
use crate::outcome::RewriteReport;
use crate::packet::MacAddr;
use crate::plan::{self, rewrite_report};
use crate::predict::{Disposition, Prediction};
use crate::run::remote;
use crate::scenario::Scenario;
use crate::scenario::step::Action;
use crate::testbed::Testbed;

/// What a run would do, and what the receiver would do with every frame. It serializes as `restage plan --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The version of this form: 1.
    pub format: u32,
    /// The scenario.
    pub name: String,
    /// Frames of the capture, up to the last one that `[capture] frames` selects.
    pub read: u64,
    /// Frames that are sent, once.
    pub selected: u64,
    /// Frames that are left out because the snaplen cut them.
    pub skipped_truncated: u64,
    /// Frames that are left out because they are longer than the MTU.
    pub skipped_oversize: u64,
    /// Frames that are left out because they have no Ethernet header and can't be given one.
    pub skipped_other: u64,
    /// How often they are sent.
    pub repeat: u32,
    /// From the first to the last send, in seconds; null at top speed. What is between the parts of a replay is left out.
    pub seconds: Option<f64>,
    /// The steps of the replay; absent where all is sent at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<PlannedStep>,
    /// After this many seconds the run is judged as it is.
    pub timeout: f64,
    /// The MTU of the sending interface, in bytes.
    pub mtu: u32,
    /// What each entry of the maps does.
    pub rewrite: RewriteReport,
    /// The receiver's addresses; null where it is not known.
    #[schemars(with = "Option<Vec<String>>")]
    pub addresses: Option<Vec<IpNet>>,
    /// The receiver's MAC.
    #[schemars(with = "Option<String>")]
    pub mac: Option<MacAddr>,
    /// The sockets that make the receiver ready.
    pub listens: Vec<String>,
    /// The interface of this machine that is taken for the receiver.
    pub interface: Option<String>,
    /// What is known of the receiver's packet filter.
    pub filter: Option<String>,
    /// What the receiver would do with the frames.
    pub predictions: Vec<PredictedFrames>,
    /// What was chosen or is odd.
    pub notes: Vec<String>,
}

/// A step of the replay.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStep {
    /// Its place among the steps, from 1.
    pub number: usize,
    /// The 1-based line in the scenario.
    pub line: usize,
    /// What it does: `frames 1-13`, `run rndc reload`, `signal SIGHUP`, `wait 2 s`, `restart`.
    pub what: String,
    /// How many frames it sends; absent for a step that sends none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
}

impl PlannedStep {
    /// Those of a scenario.
    pub(crate) fn all(scenario: &Scenario, plan: &plan::Plan) -> Vec<Self> {
        let steps = scenario.steps.iter().zip(&plan.steps).enumerate();
        let step = steps.map(|(index, (step, planned))| Self {
            number: index + 1,
            line: Place::new(&scenario.source, step.span.clone()).line,
            what: step.to_string(),
            frames: matches!(step.action, Action::Frames(_)).then_some(planned.frames),
        });
        step.collect()
    }
}

/// Frames of one kind, and what the receiver would do with them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PredictedFrames {
    /// How many frames.
    pub frames: u64,
    /// Which frames, as ranges like `1-40,57`.
    #[serde(rename = "frame-numbers")]
    pub numbers: String,
    /// `delivered`, `kernel` (the receiver's kernel takes them itself), `open` (not known before the run), or `lost:` with the cause.
    pub end: String,
    /// Why they would be lost.
    pub cause: Option<Cause>,
    /// The stage that they would not reach.
    pub stage: Option<Stage>,
    /// What they are: protocol, addresses, port.
    pub what: String,
    /// The rule with its values, or why it is not known.
    pub why: String,
    /// What to do about a loss.
    pub fix: String,
}

impl Plan {
    pub(super) fn of(scenario: &Scenario) -> Result<Self> {
        let mut plan = plan::plan(scenario, remote::facts(scenario)?)?;
        plan.notes.extend(Testbed::warnings(scenario, &plan)?);
        plan.notes.extend(plan::flow_notes(scenario, &plan)?);
        Ok(Self::new(scenario, &plan, None))
    }

    pub(crate) fn new(scenario: &Scenario, plan: &plan::Plan, filter: Option<String>) -> Self {
        let notes = plan.notes.iter().filter(|note| note.severity != Severity::Error);
        Self {
            format: 1,
            name: scenario.name.clone(),
            read: plan.counts.read,
            selected: plan.counts.selected,
            skipped_truncated: plan.counts.skipped_truncated,
            skipped_oversize: plan.counts.skipped_oversize,
            skipped_other: plan.counts.skipped_other,
            repeat: scenario.pacing.repeat.value,
            seconds: plan.duration.map(|duration| duration.as_secs_f64()),
            steps: PlannedStep::all(scenario, plan),
            timeout: plan.timeout.as_secs_f64(),
            mtu: plan.medium.mtu,
            rewrite: rewrite_report(&plan.rewriter, &plan.stats),
            addresses: plan.host.as_ref().map(|host| host.addresses.clone()),
            mac: plan.host.as_ref().map(|host| host.mac),
            listens: plan.listens().iter().map(ToString::to_string).collect(),
            interface: plan.host.as_ref().filter(|host| host.real).map(|host| host.interface.name.clone()),
            filter,
            predictions: plan.predictions.iter().map(PredictedFrames::from).collect(),
            notes: notes.map(|Diagnostic { what, .. }| what.clone()).collect(),
        }
    }
}

impl From<&Prediction> for PredictedFrames {
    fn from(prediction: &Prediction) -> Self {
        let cause = match prediction.disposition {
            Disposition::Lost(cause) => Some(cause),
            Disposition::Delivered | Disposition::Kernel | Disposition::Open => None,
        };
        Self {
            frames: prediction.class.frames.count(),
            numbers: prediction.class.frames.to_string(),
            end: prediction.disposition.to_string(),
            cause,
            stage: cause.map(|_| prediction.stage),
            what: prediction.class.key.to_string(),
            why: prediction.why.clone(),
            fix: prediction.fix.clone(),
        }
    }
}
