//! What is read of the kernel's types. It is the same as long as the kernel runs, so that one process can read it for others. Start at
//! [`KernelTypes::read`].

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::btf::Btf;
use super::layout::{self, FollowingLayout, Layout};
use super::opening::{self, Refusal};

/// What this process was told of them.
static KEPT: OnceLock<KernelTypes> = OnceLock::new();

/// What the programs must know of the running kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KernelTypes {
    pub(super) layout: Layout,
    /// Why packets can't be followed, where they can't.
    pub(super) following: Result<FollowingLayout, String>,
    pub(super) reasons: Vec<String>,
}

impl KernelTypes {
    /// Reads them, unless this process was told.
    pub(super) fn read() -> Result<Self, Refusal> {
        if let Some(kept) = KEPT.get() {
            return Ok(kept.clone());
        }
        let types = opening::types()?;
        let btf = Btf::read(types.bytes(), &layout::WANTED)?;
        if layout::arguments(&btf)? < 3 {
            return Err(Refusal::Unavailable(format!("they came with Linux 5.17, and this is {}", opening::release())));
        }
        let following = FollowingLayout::read(&btf).map_err(|fault| fault.to_string());
        Ok(Self { layout: Layout::read(&btf)?, following, reasons: layout::reasons(&btf)? })
    }

    /// Reads them for other processes; `None` where they can't be used, as those find out themselves.
    pub fn read_if_permitted() -> Option<Self> {
        opening::permitted().and_then(|()| Self::read()).ok()
    }

    /// Spares this process from reading them.
    pub fn keep(self) {
        // A second time says nothing new.
        let _ = KEPT.set(self);
    }
}
