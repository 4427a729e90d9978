//! Keys and values of sysctls, as `[lab]` sets and `[require]` checks them. Start at [`key`].

use std::ops::Range;

use super::check::Checker;
use super::form::{Scalar, Value};
use super::placeholders;
use crate::diagnostic::Diagnostic;

/// Reads a key in dotted form and puts the interface into `{receiver}`. A dot inside an interface name is written `/`, as
/// sysctl(8) does; no key leaves /proc/sys.
pub(super) fn key(written: &Value<String>, receiver: &str, checker: &mut Checker) -> Option<String> {
    checker.placeholders(written, &["receiver"]);
    let interface = receiver.replace('.', "/");
    let key = placeholders::replace(written.get(), |name| (name == "receiver").then(|| interface.clone()));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':' | '@' | '{' | '}');
    // `/` stands for a dot, and `.` for the folder's separator: a part of slashes alone would be `.` or `..`.
    let is_name = |part: &str| part.contains(|c: char| c != '/') && part.chars().all(legal);
    if key.contains('.') && key.split('.').all(is_name) {
        return Some(key);
    }
    let why = if key.contains('.') {
        "a key is names with dots between them"
    } else if key.contains('/') {
        "keys are written with dots; `/` means a dot inside an interface name"
    } else {
        "a key has several names with dots between them"
    };
    let problem = Diagnostic::error(format!("`{}` is not a sysctl", written.get())).why(why);
    checker.refuse(written.span(), problem.fix("write it like \"net.ipv4.conf.{receiver}.rp_filter\""));
    None
}

/// The text of a value; an empty one is refused.
pub(super) fn value(written: &Value<Scalar>, checker: &mut Checker) -> String {
    let text = written.get().to_string();
    if text.trim().is_empty() || text.contains(['\n', '\0']) {
        let problem = Diagnostic::error("this is not a value of a sysctl").why("it is one line of text, or a number");
        checker.refuse(written.span(), problem.fix("write what `sysctl -w` would be given"));
    }
    text
}

/// Whether no entry before has the same key; reports it otherwise.
pub(super) fn is_new<'a>(
    key: &str,
    span: &Range<usize>,
    mut before: impl Iterator<Item = (&'a String, &'a Range<usize>)>,
    checker: &mut Checker,
) -> bool {
    let Some((_, first)) = before.find(|(other, _)| *other == key) else { return true };
    let problem = Diagnostic::error(format!("`{key}` is written twice"))
        .why(format!("line {} names it too", checker.line(first.start)))
        .fix("keep one of them");
    checker.refuse(span.clone(), problem);
    false
}

/// An example of `[require] sysctl`, for editors and messages.
pub(super) fn example_rule() -> serde_json::Value {
    serde_json::json!({ "net.ipv4.conf.{receiver}.rp_filter": [0, 2] })
}

/// An example of `[lab] sysctl`.
pub(super) fn example_setting() -> serde_json::Value {
    serde_json::json!({ "net.ipv4.conf.{receiver}.rp_filter": 2 })
}
