//! Where a receiver's network namespace is: of each word of `[receiver] at`. Start at [`find`].

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::namespace::Namespace;
use crate::host::program;
use crate::scenario::receiver::ReceiverPlace;

/// Where ip-netns(8) keeps namespaces by name.
const NAMED: &str = "/run/netns";
/// The programs that know of containers, in the order in which they are asked.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// A receiver's network namespace.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) namespace: Namespace,
    /// As the scenario has it.
    pub(super) name: String,
    /// What goes before a command so that it runs there: `ip netns exec NAME `.
    pub(super) prefix: String,
    /// The `resolv.conf` of what runs there.
    pub(super) resolver: PathBuf,
}

/// The network namespace that a word names.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] where there is none, or this user may not know. Without a place.
pub(super) fn find(place: &ReceiverPlace) -> Result<Found> {
    match place {
        ReceiverPlace::Host => Ok(Found {
            namespace: Namespace::current()?,
            name: place.to_string(),
            prefix: String::new(),
            resolver: PathBuf::from("/etc/resolv.conf"),
        }),
        ReceiverPlace::Netns(name) => named(place, name),
        ReceiverPlace::Pid(pid) => of_process(place, *pid),
        ReceiverPlace::Container(name) => of_container(place, name),
        ReceiverPlace::Compose(service) => of_container(place, &of_service(service)?),
    }
}

fn named(place: &ReceiverPlace, name: &str) -> Result<Found> {
    let none = |why: String| {
        let there = fs::read_dir(NAMED).into_iter().flatten().flatten();
        let mut there: Vec<String> = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        there.sort_unstable();
        let there =
            if there.is_empty() { "there is none".to_owned() } else { format!("there are: {}", there.join(", ")) };
        Failure::blocked(
            Diagnostic::error(format!("there is no network namespace `{name}`"))
                .why(format!("{why}; {there}"))
                .fix("name one that `ip netns list` shows, or make it: `ip netns add`"),
        )
    };
    let path = Path::new(NAMED).join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(none(format!("there is no {}", path.display())));
        }
        Err(error) => return Err(Failure::system(format!("can't open `{}`", path.display()), &error)),
    };
    // What is left of a name whose namespace is gone is an empty file.
    if fstatfs(&file).map_or(true, |found| found.filesystem_type() != NSFS_MAGIC) {
        return Err(none(format!("{} is a file that no namespace is mounted on", path.display())));
    }
    let own_resolver = Path::new("/etc/netns").join(name).join("resolv.conf");
    let resolver = if own_resolver.exists() { own_resolver } else { PathBuf::from("/etc/resolv.conf") };
    let prefix = format!("ip netns exec {name} ");
    Ok(Found { namespace: OwnedFd::from(file).into(), name: place.to_string(), prefix, resolver })
}

fn of_process(place: &ReceiverPlace, pid: u32) -> Result<Found> {
    let opened = Namespace::of_process(pid).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::blocked(
            Diagnostic::error(format!("restage may not look at process {pid}"))
                .why("it belongs to another user, or has more rights than restage")
                .fix("run restage with `sudo`"),
        ),
        _ => Failure::system(format!("can't open the network namespace of process {pid}"), &error),
    })?;
    let Some(namespace) = opened else {
        return Err(Failure::blocked(
            Diagnostic::error(format!("there is no process {pid}"))
                .why("it has ended, or never ran")
                .fix("name one that runs; `pidof PROGRAM` shows its number"),
        ));
    };
    let resolver = PathBuf::from(format!("/proc/{pid}/root/etc/resolv.conf"));
    Ok(Found { namespace, name: place.to_string(), prefix: format!("nsenter -t {pid} -n "), resolver })
}

/// What an engine says of a container.
struct Container {
    id: String,
    pid: u32,
}

fn of_container(place: &ReceiverPlace, name: &str) -> Result<Found> {
    let container = inspect(name)?;
    let found = of_process(place, container.pid)?;
    // The number was the container's before and after the namespace was opened, so that it was no other process in between.
    let again = inspect(name)?;
    if (&again.id, again.pid) != (&container.id, container.pid) {
        return Err(Failure::blocked(
            Diagnostic::error(format!("the container `{name}` was started again just now"))
                .why("its network namespace is another one then")
                .fix("run it again"),
        ));
    }
    if !is_of_this_machine(&container) {
        return Err(Failure::blocked(
            Diagnostic::error(format!("the container `{name}` is on another machine"))
                .why(format!("the engine says that it is process {}, and here that is another process", container.pid))
                .fix("run restage on the machine of the container; DOCKER_HOST, CONTAINER_HOST and `docker context` choose the engine"),
        ));
    }
    Ok(found)
}

/// Whether a container's process is the one of that number here: its control group names the container.
fn is_of_this_machine(container: &Container) -> bool {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", container.pid)).unwrap_or_default();
    let is_remote = |variable: &str| {
        std::env::var(variable).is_ok_and(|host| ["tcp:", "ssh:", "http"].iter().any(|begin| host.starts_with(begin)))
    };
    // Without control groups of its own, the way to the engine decides.
    let has_own_groups = groups.lines().any(|line| !line.ends_with(":/"));
    if has_own_groups {
        groups.contains(&container.id)
    } else {
        !["DOCKER_HOST", "CONTAINER_HOST"].into_iter().any(is_remote)
    }
}

/// Asks the engines for a container.
fn inspect(name: &str) -> Result<Container> {
    const FORMAT: &str = "{{.Id}} {{.State.Running}} {{.State.Pid}}";
    let engines: Vec<PathBuf> = ENGINES.iter().filter_map(|engine| program::find(engine)).collect();
    if engines.is_empty() {
        return Err(Failure::blocked(
            Diagnostic::error("there is no program `docker` or `podman` here")
                .why("one of them knows which process a container is")
                .fix("install the engine's command line, or name the process: `at = \"pid:NUMBER\"`"),
        ));
    }
    let mut said = Vec::new();
    for engine in &engines {
        let answer = ask(engine, &["inspect", "--type", "container", "--format", FORMAT, name])?;
        let words = match &answer {
            Ok(text) => text.split_whitespace().collect::<Vec<_>>(),
            Err(why) => {
                said.push(format!("{}: {why}", engine.file_name().unwrap_or_default().to_string_lossy()));
                continue;
            }
        };
        return match words.as_slice() {
            [id, "true", pid] if pid.parse().is_ok_and(|pid: u32| pid > 0) => {
                Ok(Container { id: (*id).to_owned(), pid: pid.parse().unwrap_or_default() })
            }
            [_, "false", _] => Err(Failure::blocked(
                Diagnostic::error(format!("the container `{name}` does not run"))
                    .why("a container that is stopped has no network namespace")
                    .fix(format!(
                        "start it: `{} start {name}`",
                        engine.file_name().unwrap_or_default().to_string_lossy()
                    )),
            )),
            _ => Err(Failure::blocked(
                Diagnostic::error(format!(
                    "`{}` does not say which process the container `{name}` is",
                    engine.display()
                ))
                .why(format!("it printed `{}`", words.join(" ")))
                .fix("name the process: `at = \"pid:NUMBER\"`"),
            )),
        };
    }
    Err(Failure::blocked(
        Diagnostic::error(format!("there is no container `{name}`"))
            .why(said.join("; "))
            .fix("name one that `docker ps` or `podman ps` shows; the engine's own rights decide who may ask it"),
    ))
}

/// The container of a service of Docker Compose.
fn of_service(service: &str) -> Result<String> {
    let (docker, compose) = (program::find("docker"), program::find("docker-compose"));
    let mut said = Vec::new();
    let ways: [(Option<PathBuf>, &[&str]); 2] = [(docker, &["compose", "ps", "-q"]), (compose, &["ps", "-q"])];
    for (program, words) in ways {
        let Some(program) = program else { continue };
        match ask(&program, &[words, &[service]].concat())? {
            Err(why) => said.push(why),
            Ok(text) => {
                return match text.split_whitespace().collect::<Vec<_>>().as_slice() {
                    [id] => Ok((*id).to_owned()),
                    [] => Err(Failure::blocked(
                        Diagnostic::error(format!("the service `{service}` does not run"))
                            .why("Docker Compose has no container of it")
                            .fix(format!("start it: `docker compose up -d {service}`")),
                    )),
                    several => Err(Failure::blocked(
                        Diagnostic::error(format!("the service `{service}` has {} containers", several.len()))
                            .why("frames go to one receiver")
                            .fix(
                                "name one of the containers: `at = \"container:NAME\"`; `docker compose ps` shows them",
                            ),
                    )),
                };
            }
        }
    }
    let why =
        if said.is_empty() { "there is no program `docker` or `docker-compose`".to_owned() } else { said.join("; ") };
    Err(Failure::blocked(
        Diagnostic::error(format!("can't ask Docker Compose for the service `{service}`"))
            .why(why)
            .fix("start restage in the folder of compose.yaml, with Docker Compose installed; or name the container: `at = \"container:NAME\"`"),
    ))
}

/// What a program prints, or the last line of what it complains about.
fn ask(program: &Path, arguments: &[&str]) -> Result<std::result::Result<String, String>> {
    let output = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| Failure::system(format!("can't run `{}`", program.display()), &error))?;
    if output.status.success() {
        return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").trim();
    Ok(Err(last.to_owned()))
}
