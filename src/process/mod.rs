//! The processes of a run: the application under test, and the worker of each scenario.
//!
//! - [`application`] runs a program in the receiver's namespace, below an `init` of ours that takes everything with it, in
//!   [`surroundings`] of its own;
//! - [`work`] is the folder of one run, [`worker`] the process of one scenario, [`signals`] what a run takes of them.

pub mod application;
pub(crate) mod init;
pub mod inside;
pub(crate) mod leftover;
mod messages;
pub mod order;
pub mod parent;
mod pump;
pub mod signals;
pub mod surroundings;
pub mod work;
pub mod worker;

/// What a further process of a run calls itself (its `argv[0]`); the verb after it says what it is for: see [`crate::entry`].
pub(crate) const NAME: &str = "restage";
