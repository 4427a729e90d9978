//! `--show-output`: all that an application printed. Start at [`show_output`].

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::application::{Output, Site};
use super::control::Control;
use super::secrets::Secrets;
use crate::outcome::Event;

/// So much is reported at once.
const CHUNK: usize = 256 << 10;
/// A line that is longer is shown in parts.
const LONGEST_LINE: u64 = 64 << 10;

/// Reports all that the processes and the application printed, without their secrets.
pub(super) fn show_output(site: Site<'_>, control: &mut Control<'_>) {
    let secrets = Secrets::of(site.scenario);
    for program in site.scenario.receiver.programs() {
        let name = program.name.as_ref().map(|name| name.value.as_str());
        let output = Output::of(site.folder, name);
        for (stream, path) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            let stream = name.map_or_else(|| stream.to_owned(), |name| format!("{name} {stream}"));
            let mut report = |text: String| {
                if !text.is_empty() {
                    (control.report)(Event::Output { stream: stream.clone(), text });
                }
            };
            // What can't be read has nothing to show; the run doesn't depend on it.
            let _ = report_lines(path, &secrets, &mut report);
        }
    }
}

fn report_lines(path: &Path, secrets: &Secrets, report: &mut dyn FnMut(String)) -> std::io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut text = String::new();
    let mut line = Vec::new();
    while (&mut file).take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
        let mut shown = String::from_utf8_lossy(&line).into_owned();
        secrets.redact_text(&mut shown);
        text.push_str(&shown);
        line.clear();
        if text.len() >= CHUNK {
            report(std::mem::take(&mut text));
        }
    }
    report(text);
    Ok(())
}
