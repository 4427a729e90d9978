//! restage replays a packet capture against a receiver, and tells whether it got it; if not, which packets were lost, where, and why.
//!
//! # The way of the data
//!
//! ```text
//! path ─read─▶ Scenario ─plan─▶ Plan ─execute─▶ Evidence ─account, judge─▶ Outcome ─▶ reports
//!              legal values     maps compiled,  what was sent,             ledger and
//!                               fates predicted what was seen              every check
//! ```
//!
//! Each arrow is one function: [`scenario::read`], [`plan::plan`], [`run::execute`], [`ledger::account`], [`expect::judge`]. Everything up to the
//! rewritten frame is a pure function of bytes and needs no privilege; only `lab` and `wire` touch the kernel. A capture is streamed,
//! never held: planning reads it once, replaying once more, through the same [`plan::Stream`]. Each scenario runs in a process of its
//! own (the hidden verb `__worker`), which tells its parent what happens in JSON lines ([`outcome::Event`]).
//!
//! # The rooms, each depending only on what is above it
//!
//! | room | holds |
//! |---|---|
//! | [`figures`] | counts, durations and rates as people read them |
//! | [`diagnostic`] | one error type: what, where, why, fix; one renderer |
//! | [`file`](mod@file) | the user's files: which one a path means, and writing one so that nothing is lost |
//! | [`cause`], [`outcome`] | the causes of loss by name; the result of a run |
//! | [`packet`] | bytes on the wire: layers, checksums, MAC, the one-line listing |
//! | [`capture`] | savefiles: read, write, filter |
//! | [`inspect`] | what is in a capture: one pass, counted |
//! | [`scenario`] | the scenario language, one file for each table: form, check, meaning |
//! | [`rewrite`] | compiled maps and their application |
//! | [`host`] | a network namespace: interfaces, addresses, routes, sysctls, sockets, filters |
//! | [`predict`] | what a host does with a kind of packet; pure |
//! | [`plan`] | one pass: survey, schedule, the predicted fate of every kind of packet |
//! | [`evidence`] | what was sent and seen, as data |
//! | [`ledger`], [`expect`] | every packet accounted for · every expectation judged |
//! | [`wire`] | senders, ring, clock, taps, drop reasons, counters |
//! | [`process`] | the application under test, and the worker of each scenario |
//! | [`testbed`] | where a scenario runs: the lab, a real interface |
//! | [`run`], [`doctor`] | a run · what this machine can and can't do |
//! | [`report`], [`entry`], [`cli`] | one file for each format · how other processes of a run begin · one for each verb |
//!
//! A loss is explained in three layers: `plan` predicts it, `wire`'s taps and counters see how far packets came, its drop monitor hears
//! the kernel's reason; [`ledger`] makes one answer of the three, by the names in [`cause`].
//!
//! `tests/architecture.rs` keeps the arrows pointing this way. Two things differ from a strict pipeline, on purpose: `evidence` stands
//! between the rooms that fill it and those that read it, so that accounting is tested without a kernel; and `execute` asks `ledger`
//! while it settles, since a run in which all is accounted for need not wait.

pub mod capture;
pub mod cause;
pub mod cli;
pub mod diagnostic;
pub mod doctor;
pub mod entry;
pub mod evidence;
pub mod expect;
pub mod figures;
pub mod file;
pub mod host;
pub mod inspect;
pub mod ledger;
pub mod outcome;
pub mod packet;
pub mod plan;
pub mod predict;
pub mod process;
pub mod report;
pub mod rewrite;
pub mod run;
pub mod scenario;
pub mod schema;
pub mod testbed;
pub mod wire;
