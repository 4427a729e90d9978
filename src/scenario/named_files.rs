//! The files that a scenario reads and writes, so that nothing that is read is overwritten.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use super::Scenario;
use super::placeholders::replace;
use super::receiver::FileContent;
use super::step::Action;
use super::topology::Ruleset;
use crate::capture::Files;
use crate::diagnostic::{At, Place};
use crate::file::Claim;

impl Scenario {
    /// The files that are read: the scenario itself, its captures, and all other existing files that it names.
    pub fn inputs(&self) -> Vec<Claim> {
        let mut inputs = vec![Claim::new(&self.source.path, "the scenario")];
        inputs.extend(self.capture.files.paths().map(|path| Claim::new(path, "the capture")));
        let templates = self.rewrite.flows.iter().filter_map(|flows| flows.templates.as_ref()?.from.as_ref());
        inputs.extend(templates.flat_map(Files::paths).map(|path| Claim::new(path, "the capture with templates")));
        if let Some(ruleset) = self.topology.lab().and_then(|lab| lab.ruleset.as_ref()) {
            inputs.extend(self.rules(&ruleset.value));
        }
        inputs.extend(self.expected_files().map(|path| Claim::new(&path.value, "the expected output")));
        inputs.extend(self.receiver_files().map(|(file, _)| Claim::new(file, "a file of the receiver")));
        inputs.extend(self.argument_files().map(|path| Claim::new(&path, "a file of a command")));
        inputs
    }

    /// The existing files that commands have for arguments, or as their program.
    pub fn argument_files(&self) -> impl Iterator<Item = PathBuf> {
        let words = self.commands().flat_map(|command| &command.value);
        // The application has another working folder, so a relative path is not a file of the user.
        words.map(|word| PathBuf::from(self.in_folder(word))).filter(|path| path.is_absolute() && path.is_file())
    }

    /// The existing files that the receiver's part of a run reads, beside those that its programs do.
    pub fn files_of_the_receiver(&self) -> Vec<PathBuf> {
        let expected = self.expected_files().map(|path| path.value.clone());
        let made_from = self.receiver_files().map(|(file, _)| file.to_owned());
        expected.chain(made_from).filter(|path| path.is_file()).collect()
    }

    /// A named file relative to the scenario's folder; `None` where its name says another place, or has `..` in it, which leads elsewhere on
    /// another machine.
    pub fn below_folder(&self, file: &Path) -> Option<PathBuf> {
        let mut below = [&self.prefix, &self.folder].into_iter().filter_map(|folder| file.strip_prefix(folder).ok());
        below.find_map(|relative| {
            let parts = relative.components().filter(|part| *part != Component::CurDir);
            parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect()
        })
    }

    /// The files that outputs are compared with.
    pub fn expected_files(&self) -> impl Iterator<Item = &At<PathBuf>> {
        let commands = self.expect.command.iter();
        let rules = commands.flat_map(|command| [&command.stdout, &command.stderr]);
        let rules = rules.chain(self.expect.output.iter().map(|output| &output.rule));
        rules.filter_map(|rule| rule.equals_file.as_ref())
    }

    /// The files that those of `[receiver.files]` are made from.
    pub fn receiver_files(&self) -> impl Iterator<Item = (&Path, Option<&Range<usize>>)> {
        self.receiver.programs().flat_map(|program| &program.files).filter_map(|file| match &file.content.value {
            FileContent::From { file: from, .. } => Some((from.as_path(), file.content.span.as_ref())),
            FileContent::Text(_) => None,
        })
    }

    /// The programs that a run starts, as far as they are known before it: `{scenario}` is filled in, and programs in `{work}` are left out.
    pub fn programs(&self) -> impl Iterator<Item = At<String>> {
        let programs = self.commands().filter_map(|command| {
            let value = self.in_folder(command.value.first()?);
            Some(At { value, span: command.span.clone() })
        });
        programs.filter(|program| !program.value.contains("{work}"))
    }

    /// Everything that a run starts, with its arguments.
    pub fn commands(&self) -> impl Iterator<Item = &At<Vec<String>>> {
        let receiver =
            self.receiver.programs().flat_map(|program| program.command.iter().chain(&program.ready.command));
        let steps = self.steps.iter().filter_map(|step| match &step.action {
            Action::Run(command) => Some(command),
            _ => None,
        });
        receiver.chain(steps).chain(self.expect.command.iter().map(|check| &check.run))
    }

    fn in_folder(&self, word: &str) -> String {
        replace(word, |name| (name == "scenario").then(|| self.folder.to_string_lossy().into_owned()))
    }

    /// The ruleset's file, and the files that it includes.
    fn rules(&self, ruleset: &Ruleset) -> Vec<Claim> {
        let (mut inputs, text) = match ruleset {
            Ruleset::Text(text) => (Vec::new(), text.clone()),
            // One that can't be read is refused later, with its reason.
            Ruleset::File(path) => {
                let text =
                    if path.is_file() { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
                (vec![Claim::new(path, "the ruleset")], text)
            }
        };
        let included = text.lines().filter_map(|line| line.trim().strip_prefix("include")?.split('"').nth(1));
        inputs.extend(included.map(|file| Claim::new(&self.folder.join(file), "an included ruleset")));
        inputs
    }

    /// The snapshots that are compared with, or written anew.
    pub fn snapshots(&self) -> impl Iterator<Item = &At<PathBuf>> {
        let replies = self.expect.replies.iter().filter_map(|replies| replies.value.snapshot.as_ref());
        self.expect.rewritten.iter().chain(replies)
    }

    /// The snapshots as files of the user.
    pub fn snapshot_claims(&self) -> impl Iterator<Item = Claim> {
        self.snapshots()
            .map(|path| Claim::new(&path.value, format!("the snapshot of `{}`", self.name)).at(self.place(path)))
    }

    /// The saved capture of a run, in the folder of the reports.
    pub fn kept(&self, reports: &Path) -> Option<Claim> {
        let path = self.receiver.save_capture.as_ref()?;
        let kept = Claim::new(&reports.join(&path.value), format!("what `{}` keeps", self.name));
        Some(kept.at(self.place(path)))
    }

    fn place<T>(&self, value: &At<T>) -> Option<Place> {
        let span: Range<usize> = value.span.clone()?;
        Some(Place::new(&self.source, span))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn a_file_is_below_the_folder_wherever_the_program_was_started() {
        for (scenario, prefix) in [("s.toml", ""), ("folder/s.toml", "folder"), ("./s.toml", ".")] {
            let source =
                Source { path: scenario.into(), text: "format = 1\n[capture]\nfile = \"a.pcap\"\n".to_owned() };
            let scenario = crate::scenario::check_text(Arc::new(source)).expect("a legal scenario");
            let below = |name: &str| scenario.below_folder(&Path::new(prefix).join(name));
            for (name, expected) in [("e.txt", "e.txt"), ("./e.txt", "e.txt"), ("sub/./e.txt", "sub/e.txt")] {
                assert_eq!(below(name).as_deref(), Some(Path::new(expected)), "{name} below {prefix:?}");
            }
            assert_eq!(["../e.txt", "sub/../e.txt", "/e.txt"].map(below), [None, None, None], "below {prefix:?}");
        }
    }
}
