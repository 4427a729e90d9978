//! A receiver on another machine. There an agent, another process of restage, does the receiver's part of a run: preconditions, application,
//! observing. Here frames are planned, rewritten and sent, and what was seen is judged. Both speak in lines of JSON over the standard input and
//! output of a program that people run already: ssh, `docker exec`, kubectl. Start at [`Agent`] and, for the other end, at [`agent::main`].

pub mod agent;
mod client;
mod horizon;
mod messages;
mod outgoing;
mod push;

pub(super) use client::Agent;
pub(super) use horizon::Horizon;
