//! Who reads the output: colours, columns and progress, by the streams and the environment.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::ValueEnum;

use crate::diagnostic::Style;
use crate::report::Look;

/// Columns of what goes into a file or a pipe; as wide as the widest line of this project's own code is comfortable.
const FILE_WIDTH: usize = Look::FILE.width;
/// Narrower than this, sentences are unreadable and tables break anyway.
const NARROWEST: usize = 40;

/// `--color`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Even into a file.
    Always,
    /// Nowhere.
    Never,
}

/// What the environment says of itself. An empty variable is as good as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, none of which excludes another")]
struct Surroundings {
    /// `NO_COLOR` (no-color.org).
    no_colour: bool,
    /// `TERM=dumb`: a terminal without escape sequences.
    dumb: bool,
    /// `CI`: no one watches.
    ci: bool,
    /// `GITHUB_ACTIONS`: annotations are read from the output.
    github: bool,
}

/// The streams of this process.
#[derive(Debug)]
pub(crate) struct Terminal {
    colour: Colour,
    surroundings: Surroundings,
}

impl Terminal {
    /// Of this process.
    pub(crate) fn new(colour: Colour) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let surroundings = Surroundings {
            no_colour: set("NO_COLOR"),
            dumb: std::env::var_os("TERM").as_deref() == Some(OsStr::new("dumb")),
            ci: set("CI"),
            github: set("GITHUB_ACTIONS"),
        };
        Self { colour, surroundings }
    }

    /// How text on standard output looks.
    pub(crate) fn stdout(&self) -> Look {
        let stream = io::stdout();
        self.look(stream.is_terminal(), terminal_size::terminal_size_of(&stream))
    }

    /// Whether standard output is a terminal.
    pub(crate) fn stdout_is_one() -> bool {
        io::stdout().is_terminal()
    }

    /// How text on standard error looks.
    pub(crate) fn stderr(&self) -> Look {
        let stream = io::stderr();
        self.look(stream.is_terminal(), terminal_size::terminal_size_of(&stream))
    }

    /// Whether standard error is a terminal that a person watches, and lines on it can be drawn again.
    pub(crate) fn progress(&self) -> bool {
        io::stderr().is_terminal() && !self.surroundings.ci && !self.surroundings.dumb
    }

    /// Whether annotations for a pull request are wanted.
    pub(crate) fn annotations(&self) -> bool {
        self.surroundings.github
    }

    /// The folder that GitHub has checked the repository out to.
    pub(crate) fn workspace() -> Option<PathBuf> {
        path_of("GITHUB_WORKSPACE")
    }

    /// The file that the summary of a job of GitHub Actions is appended to.
    pub(crate) fn job_summary() -> Option<PathBuf> {
        path_of("GITHUB_STEP_SUMMARY")
    }

    fn look(&self, terminal: bool, size: Option<(terminal_size::Width, terminal_size::Height)>) -> Look {
        let width = match size {
            Some((width, _)) if terminal => usize::from(width.0).max(NARROWEST),
            _ => FILE_WIDTH,
        };
        Look { style: style(self.colour, terminal, self.surroundings), width }
    }
}

fn path_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn style(colour: Colour, terminal: bool, surroundings: Surroundings) -> Style {
    match colour {
        Colour::Always => Style::Colour,
        Colour::Auto if terminal && !surroundings.no_colour && !surroundings.dumb => Style::Colour,
        Colour::Auto | Colour::Never => Style::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Surroundings = Surroundings { no_colour: false, dumb: false, ci: false, github: false };

    #[test]
    fn colours_are_for_terminals_that_do_not_refuse_them() {
        assert_eq!(style(Colour::Auto, true, QUIET), Style::Colour);
        assert_eq!(style(Colour::Auto, false, QUIET), Style::Plain);
        assert_eq!(style(Colour::Auto, true, Surroundings { no_colour: true, ..QUIET }), Style::Plain);
        assert_eq!(style(Colour::Auto, true, Surroundings { dumb: true, ..QUIET }), Style::Plain);
    }

    #[test]
    fn the_command_line_outweighs_the_surroundings() {
        assert_eq!(style(Colour::Always, false, Surroundings { no_colour: true, ..QUIET }), Style::Colour);
        assert_eq!(style(Colour::Never, true, QUIET), Style::Plain);
    }

    #[test]
    fn sentences_are_wrapped_at_the_terminal_and_never_narrower_than_readable() {
        let terminal = Terminal { colour: Colour::Auto, surroundings: QUIET };
        let size = |columns| Some((terminal_size::Width(columns), terminal_size::Height(24)));
        assert_eq!(terminal.look(true, size(132)).width, 132);
        assert_eq!(terminal.look(true, size(3)).width, NARROWEST);
        assert_eq!(terminal.look(false, size(132)).width, FILE_WIDTH);
        assert_eq!(terminal.look(true, None).width, FILE_WIDTH);
    }
}
