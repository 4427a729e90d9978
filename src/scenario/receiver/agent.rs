//! A receiver on another machine, and how its agent is started there. Start at [`AgentPlace`].

use std::fmt;

use crate::diagnostic::Diagnostic;

use super::super::form::refused;

/// Where an agent does the receiver's part of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentPlace {
    /// A machine, as ssh(1) names it.
    Ssh(String),
    /// A container, entered by `docker exec`.
    DockerExec(String),
    /// A pod of Kubernetes, entered by `kubectl exec`.
    Kubectl { namespace: String, pod: String },
    /// A command that connects its standard input and output with those of the words behind it, which it runs there; without words it is this
    /// machine.
    Via(Vec<String>),
}

impl fmt::Display for AgentPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(host) => write!(f, "ssh:{host}"),
            Self::DockerExec(name) => write!(f, "docker-exec:{name}"),
            Self::Kubectl { namespace, pod } => write!(f, "kubectl:{namespace}/{pod}"),
            Self::Via(words) if words.is_empty() => f.write_str("this machine"),
            Self::Via(words) => f.write_str(&words.join(" ")),
        }
    }
}

impl AgentPlace {
    /// The place that a word and what follows its colon name; `None` for another word.
    pub(super) fn parse(word: &str, name: &str) -> Option<Result<Self, Diagnostic>> {
        let is_name = !name.is_empty() && !name.starts_with('-') && !name.contains(char::is_whitespace);
        let wrong = |fix: &str| Err(refused(format!("`{name}` names no place for `{word}:`"), fix));
        Some(match word {
            "ssh" if is_name => Ok(Self::Ssh(name.to_owned())),
            "ssh" => wrong("write a host as ssh(1) takes it, like \"ssh:root@lab2\""),
            "docker-exec" if is_name && super::at::is_container_name(name) => Ok(Self::DockerExec(name.to_owned())),
            "docker-exec" => wrong("write a name that `docker ps` shows, like \"docker-exec:collector\""),
            "kubectl" => match name.split_once('/') {
                Some((namespace, pod)) if is_name && !namespace.is_empty() && !pod.is_empty() => {
                    Ok(Self::Kubectl { namespace: namespace.to_owned(), pod: pod.to_owned() })
                }
                _ => wrong("write namespace and pod, like \"kubectl:monitoring/collector-0\""),
            },
            _ => return None,
        })
    }

    /// The command that runs words there.
    pub fn command(&self, words: &[&str]) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let way = match self {
            // A connection that is dead is noticed within 15 s.
            Self::Ssh(host) => owned(&[
                "ssh",
                "-T",
                "-o",
                "BatchMode=yes",
                "-o",
                "ServerAliveInterval=5",
                "-o",
                "ServerAliveCountMax=3",
                host,
            ]),
            Self::DockerExec(name) => owned(&["docker", "exec", "-i", name]),
            Self::Kubectl { namespace, pod } => owned(&["kubectl", "exec", "-i", "-n", namespace, pod, "--"]),
            Self::Via(way) => way.clone(),
        };
        way.into_iter().chain(owned(words)).collect()
    }

    /// What goes before a command of a remedy so that it runs there.
    pub fn prefix(&self) -> String {
        match self {
            Self::Ssh(host) => format!("ssh {host} "),
            Self::DockerExec(name) => format!("docker exec {name} "),
            Self::Kubectl { namespace, pod } => format!("kubectl exec -n {namespace} {pod} -- "),
            Self::Via(words) => format!("{} ", words.join(" ")),
        }
    }

    /// The command that has a POSIX shell there run a script; `None` where it is not known how words get there.
    pub fn shell(&self, script: &str) -> Option<Vec<String>> {
        match self {
            // The account's own shell runs what ssh is given.
            Self::Ssh(_) => Some(self.command(&[script])),
            Self::DockerExec(_) | Self::Kubectl { .. } => Some(self.command(&["sh", "-c", script])),
            Self::Via(_) => None,
        }
    }
}
