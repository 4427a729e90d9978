//! `[receiver] at`: where the receiver is, if not in the lab. Start at [`ReceiverPlace`].

use std::fmt;

use super::super::form::{refused, values};
use super::AgentPlace;
use crate::diagnostic::Diagnostic;

/// Where a receiver is that restage makes no namespaces for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverPlace {
    /// In the network namespace that restage is started in.
    Host,
    /// In a named network namespace: `/run/netns/NAME`, as ip-netns(8) makes them.
    Netns(String),
    /// In the network namespace of a process.
    Pid(u32),
    /// In a container of Docker or Podman, by its name or identifier.
    Container(String),
    /// In the container of a service of Docker Compose, of the project in the current folder.
    Compose(String),
}

/// What `at` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A namespace of this machine.
    Here(ReceiverPlace),
    /// Another machine, where an agent does the receiver's part of a run.
    There(AgentPlace),
}

impl fmt::Display for ReceiverPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Netns(name) => write!(f, "netns:{name}"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Container(name) => write!(f, "container:{name}"),
            Self::Compose(name) => write!(f, "compose:{name}"),
        }
    }
}

/// What can be written.
const FIX: &str = "write \"host\", \"netns:NAME\", \"pid:NUMBER\", \"container:NAME\" or \"compose:SERVICE\" for this machine, \"ssh:HOST\", \"docker-exec:NAME\" or \"kubectl:NAMESPACE/POD\" for another one";
const WORDS: [&str; 8] = ["host", "netns", "pid", "container", "compose", "ssh", "docker-exec", "kubectl"];

values! {
    Place: String, |text: &String| any_place(text), {
        "type": "string",
        "pattern": r"^(host|netns:[^/]+|pid:[1-9][0-9]*|(container|compose|docker-exec):[A-Za-z0-9][A-Za-z0-9_.-]*|ssh:[^-\s][^\s]*|kubectl:[^-/\s][^/\s]*/[^/\s]+)$"
    };
}

fn any_place(text: &str) -> Result<Place, Diagnostic> {
    let there = text.split_once(':').and_then(|(word, name)| AgentPlace::parse(word, name));
    there.map_or_else(|| place(text).map(Place::Here), |place| place.map(Place::There))
}

fn place(text: &str) -> Result<ReceiverPlace, Diagnostic> {
    let Some((word, name)) = text.split_once(':') else {
        return match text {
            "host" => Ok(ReceiverPlace::Host),
            word if WORDS.contains(&word) => Err(refused(format!("`{word}` is followed by a colon and a name"), FIX)),
            _ => Err(refused("it names no place", FIX)),
        };
    };
    match word {
        "host" => Err(refused("the host has no name", "write \"host\"")),
        "netns" if name.is_empty() || name.contains('/') || matches!(name, "." | "..") => Err(refused(
            format!("`{name}` is not the name of a network namespace"),
            "write a name that `ip netns list` shows, like \"netns:collector\"",
        )),
        "netns" => Ok(ReceiverPlace::Netns(name.to_owned())),
        "pid" => match name.parse() {
            Ok(pid) if pid > 0 && !name.starts_with(['+', '0']) => Ok(ReceiverPlace::Pid(pid)),
            _ => Err(refused(
                format!("`{name}` is not the number of a process"),
                "write a number that `pidof PROGRAM` shows, like \"pid:1234\"",
            )),
        },
        "container" | "compose" if name.is_empty() => Err(refused(format!("`{word}:` is followed by a name"), FIX)),
        "container" | "compose" if !is_container_name(name) => Err(refused(
            format!(
                "`{name}` is not a name: it is made of letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
            ),
            if word == "container" {
                "write a name or an identifier that `docker ps` shows, like \"container:collector\""
            } else {
                "write a service that `docker compose config --services` shows, like \"compose:collector\""
            },
        )),
        "container" => Ok(ReceiverPlace::Container(name.to_owned())),
        "compose" => Ok(ReceiverPlace::Compose(name.to_owned())),
        other => Err(refused(format!("`{other}:` names no place"), FIX)),
    }
}

/// As Docker, Podman and Compose have them. Such a name can't be taken for an option of their command lines.
pub(super) fn is_container_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(legal)
}
