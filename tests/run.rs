//! Runs that a user can get wrong, and runs that are cut short: each with its message, its status, and nothing left over.

#![expect(clippy::zombie_processes, reason = "a runner that was signalled is waited for by its test")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;

use common::{User, both, fresh_folder, is_root, restage, run, stage, users};

/// A UDP datagram over Ethernet and IPv4 with right checksums.
fn datagram(source: [u8; 4], destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let sum = words.sum::<u32>();
        let folded = (sum & 0xffff) + (sum >> 16);
        !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
    };
    let udp_length = u16::try_from(8 + payload.len()).expect("short");
    let mut udp = Vec::new();
    for field in [40_000, port, udp_length, 0] {
        udp.extend(u16::to_be_bytes(field));
    }
    udp.extend(payload);
    let mut pseudo = [source, destination].concat();
    pseudo.extend([0, 17]);
    pseudo.extend(udp_length.to_be_bytes());
    pseudo.extend(&udp);
    udp[6..8].copy_from_slice(&sum(&pseudo).to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend(source);
    ip.extend(destination);
    let header_sum = sum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&header_sum);
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0];
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// A pcap file of these frames, `gap_us` apart.
fn capture(frames: &[Vec<u8>], gap_us: u32) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0]);
    for (index, frame) in frames.iter().enumerate() {
        let time = u64::from(gap_us) * index as u64;
        let length = u32::try_from(frame.len()).expect("short");
        for field in [
            1_700_000_000 + u32::try_from(time / 1_000_000).expect("small"),
            u32::try_from(time % 1_000_000).expect("small"),
            length,
            length,
        ] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn datagrams(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| datagram([10, 44, 1, 17], [10, 20, 9, 9], 4739, format!("datagram {index}").as_bytes()))
        .collect()
}

/// A folder with `in.pcap` and `s.toml`.
fn scenario(capture: &[u8], rest: &str) -> PathBuf {
    let folder = fresh_folder("run");
    fs::write(folder.join("in.pcap"), capture).expect("it can be written");
    fs::write(folder.join("s.toml"), format!("format = 1\n[capture]\nfile = \"in.pcap\"\n{rest}"))
        .expect("it can be written");
    folder
}

/// Runs the scenario of a folder; what was printed without the folder's path and the digits of times.
fn outcome(user: User, folder: &Path, arguments: &[&str]) -> (i32, String, serde_json::Value) {
    let run =
        run(user, [folder.join("s.toml").as_os_str()].into_iter().chain(arguments.iter().map(std::ffi::OsStr::new)));
    let text = run.text.replace(&folder.display().to_string(), "FOLDER");
    (run.status, text, run.report["scenarios"][0].clone())
}

/// Work folders that the caller's runs left.
fn left_over(user: User) -> Vec<PathBuf> {
    let uid = match user {
        User::Ordinary => 65534,
        User::Caller => {
            fs::metadata("/proc/self").map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata)).expect("proc")
        }
    };
    let base = std::env::temp_dir().join(format!("restage-{uid}"));
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Processes whose command line holds `word`.
fn processes_with(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(word))
        .collect()
}

const TOP: &str = "[pacing]\nrate = \"topspeed\"\n";

#[test]
fn a_thousand_packets_at_top_speed_are_all_accounted_for() {
    for user in users() {
        let folder = scenario(&capture(&datagrams(1000), 10), TOP);
        let (status, text, report) = outcome(*user, &folder, &[]);
        assert_eq!(status, 0, "{text}");
        let ledger = &report["ledger"];
        for stage in ["read", "selected", "rewritten", "sent", "arrived", "delivered", "consumed"] {
            assert_eq!(ledger[stage], 1000, "{stage} as {user:?}");
        }
        assert_eq!(ledger["losses"], serde_json::json!([]));
    }
}

#[test]
fn what_can_not_be_used_is_refused_with_status_2_and_nothing_is_sent() {
    let whole = capture(&datagrams(3), 10);
    let cut = whole[..whole.len() - 5].to_vec();
    let cases: Vec<(&str, PathBuf)> = vec![
        ("a capture that is cut in the middle", scenario(&cut, TOP)),
        ("an empty file", scenario(&[], TOP)),
        ("text", scenario(b"these are no packets at all", TOP)),
        ("a capture without frames", scenario(&whole[..24], TOP)),
        ("a filter that leaves nothing", scenario(&whole, &format!("filter = \"tcp\"\n{TOP}"))),
        ("a mistyped filter", scenario(&whole, &format!("filter = \"udp dst prot 4739\"\n{TOP}"))),
        (
            "a map that matches nothing",
            scenario(&whole, &format!("[rewrite.source]\nip = {{ \"192.0.2.0/24\" = \"198.51.100.0/24\" }}\n{TOP}")),
        ),
        ("frames above the MTU", scenario(&whole, &format!("[lab]\nmtu = 68\n{TOP}"))),
        ("a timeout shorter than the replay", {
            let folder = scenario(&whole, "[pacing]\nrate = \"every 10s\"\n");
            let text = fs::read_to_string(folder.join("s.toml")).expect("it is there");
            fs::write(folder.join("s.toml"), text.replacen("format = 1\n", "format = 1\ntimeout = \"5s\"\n", 1))
                .expect("it can be written");
            folder
        }),
        ("another file than the pinned one", scenario(&whole, &format!("sha256 = \"{}\"\n{TOP}", "0".repeat(64)))),
        ("a missing file", {
            let folder = scenario(&whole, TOP);
            fs::remove_file(folder.join("in.pcap")).expect("it can be removed");
            folder
        }),
    ];
    let mut told = String::new();
    for (name, folder) in cases {
        if name == "frames above the MTU" {
            fs::write(
                folder.join("in.pcap"),
                capture(&[datagram([10, 44, 1, 17], [10, 20, 9, 9], 4739, &[7; 60])], 10),
            )
            .expect("it can be written");
        }
        let (status, text, report) = outcome(User::Caller, &folder, &[]);
        assert_eq!(
            (status, &report["verdict"], &report["ledger"]),
            (2, &"invalid".into(), &serde_json::Value::Null),
            "{name}: {text}"
        );
        let digest =
            text.split("the file has ").nth(1).and_then(|rest| rest.get(..64)).unwrap_or("no digest").to_owned();
        let message = text.replace(&digest, "DIGEST");
        let message: Vec<&str> =
            message.lines().filter(|line| !line.contains(" s") || !line.starts_with(['1', 'i'])).collect();
        let _ = writeln!(told, "## {name}\n{}\n", message.join("\n").trim());
    }
    insta::assert_snapshot!(told);
}

#[test]
fn an_application_that_does_not_come_up_blocks_the_run() {
    let Some(user) = users().last() else { return };
    let cases = [
        ("there is no such program", "[receiver]\ncommand = [\"no-such-program-anywhere\"]\n", 3, "blocked"),
        (
            "it dies at once",
            "[receiver]\ncommand = [\"sh\", \"-c\", \"echo no such option >&2; exit 7\"]\n",
            3,
            "blocked",
        ),
    ];
    for (name, receiver, expected, verdict) in cases {
        let folder = scenario(&capture(&datagrams(2), 10), &format!("{receiver}{TOP}"));
        let (status, text, report) = outcome(*user, &folder, &[]);
        assert_eq!((status, report["verdict"].as_str()), (expected, Some(verdict)), "{name}: {text}");
        assert_eq!(report["ledger"], serde_json::Value::Null, "{name}: nothing was sent");
    }
}

#[test]
fn a_real_interface_needs_leave_by_name() {
    let folder = scenario(&capture(&datagrams(2), 10), "[target]\ninterface = \"restage-none0\"\n");
    let (status, text, _) = outcome(User::Caller, &folder, &[]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("--allow-interface restage-none0"), "{text}");
    let (status, text, _) = outcome(User::Caller, &folder, &["--allow-interface", "restage-none0"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("there is no interface `restage-none0`"), "{text}");
}

#[test]
fn a_veth_of_a_namespace_of_its_own_takes_every_frame() {
    if !is_root() {
        println!("skipped: making a namespace with `unshare -n` takes root");
        return;
    }
    let folder = scenario(&capture(&datagrams(20), 10), &format!("[target]\ninterface = \"rst0\"\n{TOP}"));
    let script = "ip link add rst0 type veth peer name rst1 && ip link set rst0 up && ip link set rst1 up && \
                  exec ./restage run \"$0\" --allow-interface rst0 --report-json -";
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(folder.join("s.toml"))
        .current_dir(stage())
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    assert!(output.status.success(), "{}", both(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    let ledger = &report["scenarios"][0]["ledger"];
    assert_eq!((&ledger["sent"], &ledger["arrived"]), (&20.into(), &serde_json::Value::Null), "{}", both(&output));
}

/// A replay of minutes, with an application whose command line holds `word`.
fn long_run(user: User, word: &str) -> (std::process::Child, PathBuf) {
    let receiver = format!("[receiver]\ncommand = [\"sh\", \"-c\", \"sleep 987.6 & wait # {word}\"]\nlistens = []\n");
    let folder = scenario(
        &capture(&datagrams(100), 3_000_000),
        &format!("{receiver}[pacing]\nrate = \"captured\"\n[expect]\narrived = \"all\"\n"),
    );
    let mut command = restage(user);
    command.arg("run").arg(folder.join("s.toml")).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().expect("restage runs");
    // The application runs when a process has its word; a bounded wait for that, not a sleep of a guessed length.
    for _ in 0..2000 {
        if processes_with(word).iter().any(|line| line.split(' ').next().is_some_and(|program| program.ends_with("sh")))
        {
            return (child, folder);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the application never ran as {user:?}");
}

/// Waits, at most 10 s, until no process has the word.
fn gone(word: &str) -> bool {
    (0..2000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        processes_with(word).is_empty()
    })
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn sigint_and_sigterm_end_a_run_cleanly() {
    for user in users() {
        for name in ["INT", "TERM"] {
            let word = format!("word-{name}-{user:?}-{}", std::process::id());
            let (child, _folder) = long_run(*user, &word);
            signal(child.id(), name);
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(4), "SIG{name} as {user:?}: {}", both(&output));
            assert!(both(&output).contains("interrupted"), "{}", both(&output));
            assert!(gone(&word), "processes are left after SIG{name} as {user:?}: {:?}", processes_with(&word));
        }
    }
}

#[test]
fn an_interruption_at_start_up_is_no_failure_of_the_application() {
    for user in users() {
        let word = format!("word-start-{user:?}-{}", std::process::id());
        let receiver = format!("[receiver]\ncommand = [\"sh\", \"-c\", \"sleep 987.6 & wait # {word}\"]\n");
        let folder = scenario(&capture(&datagrams(1), 10), &receiver);
        let mut command = restage(*user);
        command.arg("run").arg(folder.join("s.toml")).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().expect("restage runs");
        let runs = |line: &String| line.starts_with("sh ") || line.contains("/sh ");
        let up = (0..2000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            processes_with(&word).iter().any(runs)
        });
        assert!(up, "the application never ran as {user:?}");
        signal(child.id(), "INT");
        let output = child.wait_with_output().expect("it ends");
        let text = both(&output);
        assert_eq!(output.status.code(), Some(4), "as {user:?}: {text}");
        assert!(text.contains("error: interrupted") && !text.contains("never listened"), "as {user:?}: {text}");
        assert!(gone(&word));
    }
}

/// Runs a scenario that keeps what arrives, with its report in `reports`; its status and what it said.
fn keeping(user: User, folder: &Path, reports: &Path) -> (i32, String) {
    let mut command = restage(user);
    command.arg("run").arg(folder.join("s.toml")).arg("--report-json").arg(reports.join("report.json"));
    let output = command.output().expect("restage runs");
    (output.status.code().unwrap_or(-1), both(&output))
}

#[test]
fn an_unfinished_file_of_a_dead_run_is_replaced_and_one_of_a_living_run_is_not() {
    for user in users() {
        let folder = scenario(&capture(&datagrams(3), 10), "[receiver]\nkeep = \"kept.pcapng\"\n");
        let reports = fresh_folder("kept");
        let unfinished = reports.join("kept.pcapng.new");
        fs::write(&unfinished, "what a killed run left").expect("it can be written");
        let status = Command::new("chmod").arg("0666").arg(&unfinished).status().expect("chmod runs");
        assert!(status.success());
        let live = fs::File::open(&unfinished).expect("it is there");
        live.lock().expect("nobody has it");
        let (status, text) = keeping(*user, &folder, &reports);
        assert_eq!(status, 3, "as {user:?}: {text}");
        assert!(text.contains("another run is keeping what arrives"), "as {user:?}: {text}");
        assert_eq!(fs::read(&unfinished).expect("it is there"), b"what a killed run left");
        drop(live);
        assert_eq!(keeping(*user, &folder, &reports).0, 0);
        assert!(!unfinished.exists() && reports.join("kept.pcapng").exists());
    }
}

#[test]
fn too_few_open_files_are_named_with_the_remedy() {
    for user in users() {
        let folder = scenario(&capture(&datagrams(3), 10), "");
        let mut command = restage(*user);
        command.arg("run").arg(folder.join("s.toml"));
        let words: Vec<_> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(std::ffi::OsStr::to_owned).collect();
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 16; exec \"$@\"", "sh"]).args(words).current_dir(stage()).env("NO_COLOR", "1");
        let output = limited.output().expect("sh runs");
        let text = both(&output);
        assert_eq!(output.status.code(), Some(4), "as {user:?}: {text}");
        assert!(text.contains("Too many open files") && text.contains("ulimit -n 1024"), "as {user:?}: {text}");
    }
}

#[test]
fn a_full_disk_is_named_with_the_remedy() {
    for user in users() {
        let folder = scenario(&capture(&datagrams(3), 10), "");
        let mut command = restage(*user);
        command.arg("run").arg(folder.join("s.toml")).args(["--report-json", "/dev/full"]);
        let output = command.output().expect("restage runs");
        let text = both(&output);
        assert_eq!(output.status.code(), Some(4), "as {user:?}: {text}");
        assert!(text.contains("No space left on device") && text.contains("fix: free space there"), "{text}");
    }
}

#[test]
fn sigkill_of_the_runner_leaves_no_process_and_the_next_run_no_file() {
    for user in users() {
        let word = format!("word-KILL-{user:?}-{}", std::process::id());
        let (mut child, _folder) = long_run(*user, &word);
        signal(child.id(), "KILL");
        child.wait().expect("it ends");
        assert!(gone(&word), "processes are left as {user:?}: {:?}", processes_with(&word));
        let folder = scenario(&capture(&datagrams(1), 10), TOP);
        assert_eq!(outcome(*user, &folder, &[]).0, 0);
        let mine = left_over(*user).into_iter().filter(|path| path.to_string_lossy().contains("/s-")).filter(|path| {
            // Another test of this file may be in the middle of a run: its folder is locked by a living process.
            let pid = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.split('-').nth(1))
                .unwrap_or("0")
                .to_owned();
            !Path::new("/proc").join(pid).exists()
        });
        assert_eq!(mine.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_run_that_takes_too_long_is_judged_as_it_stands() {
    let Some(user) = users().last() else { return };
    let folder = scenario(
        &capture(&datagrams(3), 10),
        "[receiver]\ncommand = [\"sh\", \"-c\", \"exec sleep 987.6\"]\nlistens = []\nsettle = \"60s\"\n[pacing]\nrate = \"topspeed\"\n[expect]\narrived = \"all\"\n",
    );
    let text = fs::read_to_string(folder.join("s.toml")).expect("it is there");
    fs::write(folder.join("s.toml"), text.replacen("format = 1\n", "format = 1\ntimeout = \"1s\"\n", 1))
        .expect("it can be written");
    let (status, text, report) = outcome(*user, &folder, &[]);
    assert_eq!((status, report["verdict"].as_str()), (1, Some("fail")), "{text}");
    assert_eq!(report["ledger"]["arrived"], 3, "what was seen counts: {text}");
}

#[test]
fn progress_of_a_piped_run_stays_out_of_its_output() {
    let Some(user) = users().last() else { return };
    let folder = scenario(&capture(&datagrams(3), 10), TOP);
    let mut child =
        restage(*user).arg("run").arg(folder.join("s.toml")).stdout(Stdio::piped()).spawn().expect("restage runs");
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text")).collect();
    assert!(child.wait().expect("it ends").success());
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
}

/// Whether the process blocks SIGUSR1: before its first steps it would end it.
fn takes_questions(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    blocked.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << 9) != 0)
}

/// The processes that this one has started and that run.
fn children(pid: u32) -> impl Iterator<Item = u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().expect("a number")).collect::<Vec<_>>().into_iter()
}

/// Sends SIGUSR1, to its workers too, until a line on standard error is `wanted`, for 20 s at most; that line.
fn asked(child: &mut std::process::Child, wanted: impl Fn(&str) -> bool) -> String {
    let ready = (0..2000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        takes_questions(child.id())
    });
    assert!(ready, "it never blocked SIGUSR1");
    let (tell, told) = std::sync::mpsc::channel();
    let errors = BufReader::new(child.stderr.take().expect("a pipe"));
    // It reads to the end, so that nothing that is written later finds the pipe closed.
    std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    for _ in 0..400 {
        signal(child.id(), "USR1");
        // As `pkill -USR1 -f restage` does.
        for worker in children(child.id()).filter(|worker| takes_questions(*worker)) {
            // It may have ended in between.
            let _ = Command::new("kill").arg("-USR1").arg(worker.to_string()).stderr(Stdio::null()).status();
        }
        match told.recv_timeout(std::time::Duration::from_millis(50)) {
            Ok(line) if wanted(&line) => return line,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("it ended and never told"),
        }
    }
    panic!("it never told");
}

#[test]
fn sigusr1_makes_a_run_tell_how_far_it_is_and_harms_nothing() {
    for user in users() {
        let folder =
            scenario(&capture(&datagrams(12), 10), "[pacing]\nrate = \"every 100ms\"\n[expect]\narrived = \"all\"\n");
        let mut command = restage(*user);
        command.arg("run").arg(folder.join("s.toml")).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("restage runs");
        let line = asked(&mut child, |line| line.contains(" sent (") && !line.contains("  0/"));
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "as {user:?}: {}", both(&output));
        let (sent, rest) = line
            .strip_prefix("s: replay  ")
            .and_then(|line| line.split_once("/12 sent ("))
            .unwrap_or_else(|| panic!("as {user:?}: {line}"));
        let sent: u64 = sent.parse().expect("a number");
        assert!((1..=12).contains(&sent), "{line}");
        assert!(rest.starts_with(&format!("{} %)  ", sent * 100 / 12)), "{line}");
        assert!(rest.contains(" arrived") && !rest.contains(" lost"), "{line}");
        assert!(!both(&output).contains(" sent ("), "standard output has none of it: {}", both(&output));
    }
}
