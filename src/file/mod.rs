//! The user's files: which file a path means, and writing one so that nothing is lost.
//!
//! Everything that restage writes for its user goes through this room: captures, reports, snapshots, what is kept of a run. A file is written
//! beside its target and renamed when it is complete ([`Replacement`]); before that, [`Claims`] has refused a target that is also read, or
//! that two outputs share. May use `diagnostic` only. Start reading at [`Claims`].

mod behind;
mod claims;
mod identity;
mod reading;
mod replacement;
mod stable_path;

pub(crate) use behind::{WriteBehind, WriteError};
pub use claims::{Claim, Claims};
pub use identity::{descriptor, is_standard_input, is_stream};
pub use reading::{MOST_BYTES, misspelt, read_bytes, read_long, read_source, similar, source_of};
pub(crate) use replacement::unwritable;
pub use replacement::{Replacement, discard_unfinished};
pub use stable_path::stable_path;
