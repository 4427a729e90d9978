//! Keys and values of sysctls, as `[lab]` sets and `[require]` checks them. Start at [`Key`].

use super::form::{Scalar, keys, values};
use super::placeholders;
use crate::diagnostic::Diagnostic;

/// A key in dotted form, `{receiver}` still in it. A dot inside an interface name is written `/`, as sysctl(8) does; no key leaves /proc/sys.
pub(super) struct Key(pub(super) String);

/// What is written to a sysctl.
pub(super) struct Text(pub(super) String);

keys! {
    Key, key;
}

values! {
    Text: Scalar, value;
}

/// The key with the interface in the place of `{receiver}`.
pub(super) fn fill(key: &str, receiver: &str) -> String {
    let interface = receiver.replace('.', "/");
    placeholders::replace(key, |name| (name == "receiver").then(|| interface.clone()))
}

fn key(text: &str) -> Result<Key, Diagnostic> {
    placeholders::check(text, &["receiver"])?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':' | '@' | '{' | '}');
    // `/` means a dot, and `.` the folder's separator: a part of slashes alone would be `.` or `..`.
    let is_name = |part: &str| part.contains(|c: char| c != '/') && part.chars().all(legal);
    if text.contains('.') && text.split('.').all(is_name) {
        return Ok(Key(text.to_owned()));
    }
    let why = if text.contains('.') {
        "a key is names with dots between them"
    } else if text.contains('/') {
        "keys are written with dots; `/` means a dot inside an interface name"
    } else {
        "a key has several names with dots between them"
    };
    let problem = Diagnostic::error(format!("`{text}` is not a sysctl")).why(why);
    Err(problem.fix("write the whole key in quotes, like \"net.ipv4.conf.{receiver}.rp_filter\""))
}

fn value(written: &Scalar) -> Result<Text, Diagnostic> {
    let text = written.to_string();
    if text.trim().is_empty() || text.contains(['\n', '\0']) {
        let problem = Diagnostic::error("this is not a value of a sysctl").why("it is one line of text, or a number");
        return Err(problem.fix("write what `sysctl -w` would be given"));
    }
    Ok(Text(text))
}

/// An example of `[require] sysctl`, for editors and messages.
pub(super) fn example_rule() -> serde_json::Value {
    serde_json::json!({ "net.ipv4.conf.{receiver}.rp_filter": [0, 2] })
}

/// An example of `[lab] sysctl`.
pub(super) fn example_setting() -> serde_json::Value {
    serde_json::json!({ "net.ipv4.conf.{receiver}.rp_filter": 2 })
}
