//! The agent on a machine that sends: it keeps its share of the frames, and sends it when all machines are ready. Start at [`send`].

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::control::Control;
use super::super::extent::Extent;
use super::super::observe::Observer;
use super::super::preconditions::Probing;
use super::super::replay::Replay;
use super::super::setup::Setup;
use super::super::steps::Steps;
use super::agent::{Agent, out_of_turn};
use super::messages::{Answer, Arm, Piece, Request};
use super::upstream::Upstream;
use crate::capture::{Frame, FrameRanges, Writer};
use crate::diagnostic::{Failure, Result, Source};
use crate::evidence::Sending;
use crate::file::unwritable;
use crate::host::facts::Facts;
use crate::ledger::identity::Digester;
use crate::packet::layers::LinkType;
use crate::plan;
use crate::process::work::WorkFolder;
use crate::scenario::{self, ScenarioText};
use crate::testbed::Testbed;

/// The time of the schedule's zero in the share's file: a time of 0 means that there is none.
const ZERO_NS: u64 = 1_000_000_000_000_000_000;
/// How long the last lines to the run may take.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Takes the share, and sends it; `first` are its first frames.
pub(super) fn send(agent: &Agent, first: Vec<Piece>) -> Result<()> {
    let folder = WorkFolder::create("share")?;
    let path = folder.work().join("share.pcap");
    let Some(Kept { numbers, first_ns, arm }) = keep(agent, first, &path)? else { return Ok(()) };
    let upstream = Arc::clone(&agent.upstream);
    upstream.arm(&arm, numbers);
    let writer = {
        let upstream = Arc::clone(&upstream);
        let thread = thread::Builder::new().name("to-run".to_owned());
        let cant = |error| Failure::system("can't start a thread", &error);
        thread.spawn(move || upstream.to.write_to(std::io::stdout())).map_err(cant)?
    };
    let sent = replay(agent, &upstream, &arm, &path, first_ns);
    match sent {
        Ok(Some(sending)) => upstream.say(&Answer::Sent(Box::new(sending))),
        Ok(None) => {}
        Err(failure) => upstream.say(&Answer::Failed(failure)),
    }
    // The run may have gone, and read nothing more.
    upstream.to.close();
    let begun = Instant::now();
    while !writer.is_finished() && begun.elapsed() < LAST_LINES {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A share that is kept in a file.
struct Kept {
    /// What its frames are in the capture.
    numbers: Vec<u64>,
    /// When the first of them is due, in nanoseconds.
    first_ns: Option<u64>,
    arm: Arm,
}

/// Keeps the share in a file. `None`: the connection was closed.
fn keep(agent: &Agent, first: Vec<Piece>, path: &Path) -> Result<Option<Kept>> {
    let cant = |error| unwritable(path, &error);
    let file = File::create(path).map_err(cant)?;
    let mut writer = Writer::pcap(BufWriter::new(file), LinkType::ETHERNET, true, None).map_err(cant)?;
    let (mut numbers, mut first_ns) = (Vec::new(), None);
    let mut pieces = first;
    loop {
        for Piece { frame, after_ns, bytes } in pieces {
            let mut bytes = STANDARD.decode(bytes).map_err(|_| out_of_turn())?;
            first_ns.get_or_insert(after_ns);
            numbers.push(frame);
            let (number, time_ns) = (numbers.len() as u64, ZERO_NS.saturating_add(after_ns));
            let original_length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let frame = Frame { number, time_ns, original_length, link: LinkType::ETHERNET, bytes: &mut bytes };
            writer.write_with(&frame, &[]).map_err(cant)?;
        }
        pieces = match agent.next()? {
            Some(Request::Share(pieces)) => pieces,
            Some(Request::Arm(arm)) => {
                writer.finish().map_err(cant)?;
                return Ok(Some(Kept { numbers, first_ns, arm: *arm }));
            }
            Some(_) => return Err(out_of_turn()),
            None => return Ok(None),
        };
    }
}

/// Gets ready, waits for the start, and sends. `None`: the connection was closed before.
fn replay(
    agent: &Agent,
    upstream: &Arc<Upstream>,
    arm: &Arm,
    path: &Path,
    first_ns: Option<u64>,
) -> Result<Option<Sending>> {
    let limit = Instant::now() + arm.left;
    let Some(first_ns) = first_ns else {
        upstream.say(&Answer::Ready);
        return Ok(agent.start()?.map(|_| Sending::default()));
    };
    let source = Source { path: path.with_file_name("share.toml"), text: arm.scenario.clone() };
    let scenario = scenario::check(&ScenarioText::of(Arc::new(source))?)?;
    Testbed::allow(&scenario, &arm.options.allow_interfaces, false)?;
    let plan = plan::plan(&scenario, Testbed::facts(&scenario)?)?;
    let testbed = Testbed::prepare(&scenario, &plan, None)?;
    let mut report = |event| upstream.say(&Answer::Event(event));
    let control = Control { report: &mut report, parent: &agent.watch, limit };
    let facts = Facts::read();
    let probing = Probing::default();
    let mut setup = Setup::make(&scenario, &arm.options, &plan.brief(), probing, testbed, control, &facts)?;
    let rate = scenario.pacing.rate.value;
    let opened = setup.testbed.open_sender(&scenario, &plan, rate)?;
    let mut observer = Observer::announcing(Digester::routed(arm.key.clone()), Arc::clone(upstream));
    let replay = Replay::new(&scenario, &plan, rate, opened, &observer);
    let mut steps = Steps::new(&scenario, &plan, &setup.testbed, &mut observer);
    upstream.say(&Answer::Ready);
    let Some(start) = agent.start()? else { return Ok(None) };
    let replay = replay.starting(start, Duration::from_nanos(first_ns));
    let (sending, _) = replay.run(&Extent::default(), &mut setup.receiver, &mut setup.control, &mut steps)?;
    let numbered = |ranges: &FrameRanges| ranges.renumbered(|frame| upstream.number(frame));
    Ok(Some(Sending {
        too_long: numbered(&sending.too_long),
        unsendable: numbered(&sending.unsendable),
        interface_down: numbered(&sending.interface_down),
        dropped: numbered(&sending.dropped),
        not_sent: numbered(&sending.not_sent),
        ..sending
    }))
}
