//! Every test that drives the program or the public API, in one program: it links once, and its waits overlap.
//!
//! A module for each subject. Tests of what the receiver itself reports have programs of their own, since these are the application under
//! test as well: tests/causes, tests/life and tests/truth. Unit tests are in `src`, and long ones in tests/unit.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/mixed.rs"]
mod mixed;
#[path = "../common/savefile.rs"]
mod savefile;

mod api;
mod architecture;
mod captures;
mod capturing;
mod choosing;
mod evidence;
mod failing;
mod goldens;
mod html;
mod importing;
mod init;
mod inspect;
mod installing;
mod interface;
mod interrupting;
mod merging;
mod messages;
mod odd_captures;
mod packaging;
mod paths;
mod preconditions;
mod predicting;
mod profiles;
mod receivers;
mod remote;
mod replaying;
mod reports;
mod review;
mod run;
mod scenarios;
mod showing;
mod turns;
