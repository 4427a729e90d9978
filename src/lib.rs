//! restage replays a packet capture against a receiver, and tells whether it got it.

pub mod capture;
pub mod cause;
pub mod cli;
pub mod diagnostic;
pub mod evidence;
pub mod execute;
pub mod expect;
pub mod lab;
pub mod ledger;
pub mod outcome;
pub mod packet;
pub mod plan;
pub mod report;
pub mod rewrite;
pub mod scenario;
pub mod schema;
pub mod wire;
