//! `[expect.replies]`: what the receiver must send back. Start at [`Replies`].

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::Count;
use crate::diagnostic::{At, Diagnostic};

/// What the application sends back on the same wire.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Replies {
    /// How many: "all" and a share are of the questions that the frames ask; a number is of datagrams.
    #[schemars(example = &"all")]
    pub count: Option<At<Count>>,
    /// A pcap-filter(7) expression: only the replies that it takes count.
    #[schemars(example = &"udp src port 53")]
    pub filter: Option<At<String>>,
    /// `captured`: they are equal to the answers in the capture, but for identifiers, times and checksums.
    #[schemars(example = &"captured")]
    pub like: Option<At<Like>>,
    /// The answers as reviewed text; written only by --update-snapshots.
    #[schemars(example = &"snapshots/replies.snap")]
    pub snapshot: Option<At<PathBuf>>,
}

/// What answers are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Like {
    /// The answers in the capture.
    Captured,
}

/// Checks the table: it needs the lab, a key, and an application that may answer.
pub(super) fn check(replies: &mut At<Replies>, lab: bool, application: bool, checker: &mut Checker) {
    let span = replies.range();
    let Replies { count, filter, like, snapshot } = &mut replies.value;
    if let Some(file) = snapshot.as_mut() {
        checker.join("expect.replies.snapshot", &mut file.value, file.span.as_ref());
    }
    if !lab {
        let problem = Diagnostic::error("`[expect.replies]` needs the lab")
            .why("with `[target]` what the receiver sends back is not looked at")
            .fix("remove it; or replace `[target]` by `[lab]`, and name the application in `[receiver]`");
        checker.refuse(span, problem);
        return;
    }
    if count.is_none() && like.is_none() && snapshot.is_none() {
        let problem = Diagnostic::error("`[expect.replies]` checks nothing");
        let problem = problem.fix("add `count`, `like` or `snapshot`");
        checker.missing_all("expect.replies", &["count", "like", "snapshot"], span.clone(), problem);
    }
    if !application && filter.is_none() {
        let problem = Diagnostic::error("`[expect.replies]` needs an application")
            .why("restage's own receiver reads, and answers nothing")
            .fix("add `[receiver] command`; ICMP errors of the kernel are chosen by `filter = \"icmp or icmp6\"`");
        checker.missing("receiver.command", span, problem);
    }
}
