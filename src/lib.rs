//! restage replays a packet capture against a receiver and reports whether the receiver got it; if not, which packets were lost, where, and
//! why.
//!
//! A *scenario* is a TOML file that names the capture, how it is rewritten, where and how fast it is replayed, and what is expected of the
//! receiver. Any Rust test can run one, as root or as an ordinary user:
//!
//! ```
//! use restage::{Options, Scenario};
//!
//! let scenario = Scenario::from_file("scenarios/a-strict-rp-filter-keeps-sources-with-a-route.toml")?;
//! scenario.run(&Options::default())?.assert_passed();
//! # Ok::<(), restage::Failure>(())
//! ```
//!
//! The outcome has the *ledger*: how many frames reached each stage on their way to the application, and every loss with its cause.
//!
//! ```
//! use restage::{Cause, Options, Scenario, Stage};
//!
//! let scenario = Scenario::from_file("scenarios/martian-sources-are-dropped.toml")?;
//! let ledger = scenario.run(&Options::default())?.ledger.expect("frames were sent");
//! let loss = &ledger.losses[0];
//! assert_eq!((loss.stage, &loss.cause), (Stage::Accepted, &Cause::IpInvalidSource.into()));
//! # Ok::<(), restage::Failure>(())
//! ```
//!
//! Without sending anything, [`Scenario::plan`] predicts what the receiver will do with every frame, [`Scenario::rewrite`] writes the rewritten
//! capture, and [`inspect()`] says what is in a capture. The scenario language is described in `docs/reference/language.md`.
//!
//! # How it works
//!
//! ```text
//! path ─check─▶ Scenario ─plan─▶ Plan ─run─▶ Evidence ─account, judge─▶ Outcome ─▶ reports
//!               legal values     maps compiled,  what was sent,         ledger and
//!                                predictions     what was seen          every check
//! ```
//!
//! **A scenario's way.** `cli::run` collects the files and hands them to `run::Batch`, which starts a process for each: this program again, which
//! `entry` takes over before `main`. There `run::run_scenario` asks the `testbed` for its facts, has `plan` read the capture once (each frame is
//! selected, rewritten, put into a class and scheduled; `predict` says what the receiver's host does with each class), and makes a `Run`:
//! testbed up, preconditions checked, receiver ready with the processes beside it; then it sends while it observes, with the steps of the
//! scenario between, waits until nothing moves any more, and stops the receiver. `ledger::account` turns plan and evidence into the ledger, `expect::judge` into checks and the verdict. The outcome goes back to the
//! batch as a line of JSON, and to `report`.
//!
//! **A packet's way.** `capture::Captures` reads the frame, `plan::Selector` takes it, `rewrite::Pass` changes it in place, `run::replay` hashes it,
//! announces it and waits for its deadline, `wire::sender` sends it. On the receiver's side `wire::ring` sees it arrive and `ledger::matching`
//! finds it by its hash; `wire::taps` and `wire::trace` see how far it comes in the kernel and which reason the kernel gives for dropping it;
//! `host::sockets` counts what waits and what was dropped in the sockets. What is missing at a stage is attributed to causes in the order of
//! the one table in `cause`.
//!
//! # The rooms
//!
//! Each room uses only what is above it in this table; `tests/suite/architecture.rs` checks that. Everything up to `predict` and `plan` is a pure
//! function of bytes, except for `host`, which reads the kernel.
//!
//! | room | holds |
//! |---|---|
//! | `figures` | counts, durations and rates as people read them |
//! | `diagnostic` | one error type: what, where, why, fix; one renderer |
//! | `file` | the user's files: which one a path means, and writing one so that nothing is lost |
//! | `cause`, `outcome` | the causes of loss; the result of a run |
//! | `packet` | bytes on the wire: layers, checksums, MAC, the one-line listing |
//! | `flow` | flow exports: their messages, templates, records and fields |
//! | `capture` | savefiles: read, write, filter |
//! | `inspect` | what is in a capture: one pass, counted |
//! | `scenario` | the scenario language, one file for each table: form, check, meaning |
//! | `draft` | scenarios that restage writes: of a capture |
//! | `rewrite` | compiled maps and their application |
//! | `host` | a network namespace: interfaces, addresses, routes, sysctls, sockets, filters |
//! | `predict` | what a host does with a kind of packet |
//! | `plan` | one pass: survey, schedule, the predictions for every kind of packet |
//! | `evidence` | what was sent and seen, as data |
//! | `ledger`, `expect` | every packet accounted for · every expectation judged |
//! | `wire` | senders, ring, clock, taps, drop reasons, counters |
//! | `process` | the application under test, and the worker of each scenario |
//! | `testbed` | where a scenario runs: the lab, a real interface |
//! | `run`, `doctor` | a run · what this machine can and can't do |
//! | `report` | one file for each format |
//! | `api`, `entry` | what this page documents · how other processes of a run begin |
//! | `cli` | one file for each verb |
//!
//! Two things differ from a strict pipeline, on purpose: `evidence` is between the rooms that fill it and those that read it, so that accounting
//! is tested without a kernel; and `run` asks `ledger` while it settles, since a run in which all is accounted for need not wait.

mod api;
mod capture;
mod cause;
mod cli;
mod diagnostic;
mod doctor;
mod draft;
mod entry;
mod evidence;
mod expect;
mod figures;
mod file;
mod flow;
mod host;
mod inspect;
mod ledger;
mod outcome;
mod packet;
mod plan;
mod predict;
mod process;
mod report;
mod rewrite;
mod run;
mod scenario;
mod schema;
mod testbed;
mod wire;

/// What the fuzz targets in `fuzz/` run; no part of the API.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
#[path = "../fuzz/bodies.rs"]
mod fuzzing;

pub use api::{Plan, PlannedStep, PredictedFrames, RewriteSummary, inspect};
pub use cause::{Cause, Stage};
#[doc(hidden)]
pub use cli::main;
pub use diagnostic::{Diagnostic, Failure, Kind, Place, Result, Severity};
pub use inspect::Inspection;
pub use outcome::{Amount, Check, EvidenceLevel, Ledger, Loss, Outcome, RewriteEntry, RewriteReport, Verdict};
pub use run::Options;
pub use scenario::Scenario;
