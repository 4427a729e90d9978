//! The streams that a verb writes to, and what happens when their reader is gone.

use std::io::{self, Write};

use serde::Serialize;

use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::report::{Look, text};

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// A stream with the look of whoever reads it.
#[derive(Debug)]
pub(crate) struct Output {
    stream: Stream,
    look: Look,
    failed: Option<io::Error>,
}

impl Output {
    /// Where data goes.
    pub(crate) fn stdout(terminal: &Terminal) -> Self {
        Self { stream: Stream::Stdout, look: terminal.stdout(), failed: None }
    }

    /// Where everything else goes.
    pub(crate) fn stderr(terminal: &Terminal) -> Self {
        Self { stream: Stream::Stderr, look: terminal.stderr(), failed: None }
    }

    /// How text for this stream looks.
    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// Writes the text at once. After the first failure nothing more is tried; [`Output::status`] says so.
    pub(crate) fn write(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let written = match self.stream {
            Stream::Stdout => write_flushed(&mut io::stdout().lock(), text),
            Stream::Stderr => write_flushed(&mut io::stderr().lock(), text),
        };
        self.failed = written.err();
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::error(Diagnostic::error("can't make the JSON").why(error.to_string())))?;
        self.write(&(text + "\n"));
        Ok(())
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) {
        let line = serde_json::to_string(value).expect("its keys are strings, and its paths are UTF-8");
        self.write(&(line + "\n"));
    }

    /// Writes problems as compilers show them.
    pub(crate) fn problems(&mut self, problems: &[Diagnostic]) {
        if !problems.is_empty() {
            self.write(&text::problems(problems, self.look));
        }
    }

    /// An output that could not be written is an error of the system. A reader that left (`| head`) is none: it has what
    /// it wanted.
    pub(crate) fn status(&self) -> Status {
        match &self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Status::Error,
            _ => Status::Pass,
        }
    }
}

/// As [`Output::write`]: what fails is kept for [`Output::status`].
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_flushed(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
