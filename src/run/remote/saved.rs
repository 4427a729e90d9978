//! The file of what arrived, `[receiver] save-capture`: it is written on the receiver's machine, and brought here when all is seen. Start at [`Saved`]
//! and, for this end, at [`fetch`].

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::control::Control;
use super::connection::Connection;
use super::messages::{Answer, Request};
use crate::diagnostic::{Failure, Result};
use crate::file::{Replacement, unwritable};
use crate::process::work::WorkFolder;

/// So many bytes are brought at once.
const PART_BYTES: u64 = 1 << 20;

/// The file on the receiver's machine, in a folder of its own.
pub(super) struct Saved {
    folder: WorkFolder,
    name: PathBuf,
    file: Option<File>,
}

impl Saved {
    /// `name`: as the scenario has it.
    pub(super) fn new(name: &Path) -> Result<Self> {
        Ok(Self { folder: WorkFolder::create("arrived")?, name: name.to_owned(), file: None })
    }

    /// Where it is to be written.
    pub(super) fn folder(&self) -> &Path {
        self.folder.work()
    }

    /// The next part of what was written; `None` behind the last one.
    pub(super) fn part(&mut self) -> Result<Option<String>> {
        let path = self.folder.work().join(&self.name);
        let cant = |error: std::io::Error| Failure::system(format!("can't read `{}`", path.display()), &error);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&path).map_err(cant)?),
        };
        let mut bytes = Vec::new();
        file.take(PART_BYTES).read_to_end(&mut bytes).map_err(cant)?;
        Ok((!bytes.is_empty()).then(|| STANDARD.encode(bytes)))
    }
}

/// Brings the file here. After an interrupt there is none.
pub(super) fn fetch(connection: &Connection, path: &Path, control: &mut Control<'_>) -> Result<()> {
    let cant = |error| unwritable(path, &error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cant)?;
    }
    let (replacement, mut file) = Replacement::begin(path)?;
    while !control.is_interrupted() {
        match connection.asked_within_run(&Request::Saved, control)? {
            Answer::Saved(Some(part)) => {
                let bytes = STANDARD.decode(part).map_err(|_| connection.nonsense())?;
                file.write_all(&bytes).map_err(cant)?;
            }
            Answer::Saved(None) => return replacement.publish(),
            _ => return Err(connection.nonsense()),
        }
    }
    Ok(())
}
