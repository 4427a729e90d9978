//! Runs that a user can get wrong: each with its message, its status, and nothing left over.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::small::{capture, datagram, datagrams, scenario};
use crate::common::{User, both, fresh_folder, is_root, restage, run, stage, users};

/// Runs the scenario of a folder; what was printed without the folder's path and the digits of times.
fn outcome(user: User, folder: &Path, arguments: &[&str]) -> (i32, String, serde_json::Value) {
    let run =
        run(user, [folder.join("s.toml").as_os_str()].into_iter().chain(arguments.iter().map(std::ffi::OsStr::new)));
    let text = run.text.replace(&folder.display().to_string(), "FOLDER");
    (run.status, text, run.report["scenarios"][0].clone())
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

#[test]
fn a_target_needs_cap_net_raw_and_nothing_else() {
    if !is_root() {
        println!("skipped: making a namespace with `unshare -n` takes root");
        return;
    }
    let check = "[[expect.command]]\nrun = [\"echo\", \"hi\"]\nstdout = { contains = \"hi\" }\n";
    let folder = scenario(&capture(&datagrams(20), 10), &format!("[target]\ninterface = \"rst0\"\n{TOP}{check}"));
    crate::common::copy_program(&stage().join("restage"), &folder.join("restage"));
    let run = |capability: &str| {
        let grant = Command::new("setcap").arg(capability).arg(folder.join("restage")).status();
        if !grant.is_ok_and(|status| status.success()) {
            println!("skipped: no file capabilities here");
            return None;
        }
        let script = "ip link add rst0 type veth peer name rst1 && ip link set rst0 up && ip link set rst1 up && \
                      exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all -- \
                      ./restage run s.toml --allow-interface rst0 --report-json -";
        let output = Command::new("unshare")
            .args(["-n", "sh", "-c", script])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .expect("unshare runs");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        Some((output.status.code(), report["scenarios"][0].clone(), both(&output)))
    };
    let Some((status, scenario, text)) = run("cap_net_raw+ep") else { return };
    assert_eq!((status, &scenario["ledger"]["sent"]), (Some(0), &20.into()), "{text}");
    let Some((status, scenario, text)) = run("cap_net_raw-ep") else { return };
    assert_eq!((status, &scenario["verdict"]), (Some(3), &"blocked".into()), "{text}");
    assert!(text.contains("sudo setcap cap_net_raw+ep "), "{text}");
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
        let folder = scenario(&capture(&datagrams(3), 10), "[receiver]\nsave-capture = \"kept.pcapng\"\n");
        let reports = fresh_folder("kept");
        let unfinished = reports.join(".kept.pcapng.restage-partial");
        fs::write(&unfinished, "what a killed run left").expect("it can be written");
        let status = Command::new("chmod").arg("0666").arg(&unfinished).status().expect("chmod runs");
        assert!(status.success());
        let live = fs::File::open(&unfinished).expect("it is there");
        live.lock().expect("nobody has it");
        let (status, text) = keeping(*user, &folder, &reports);
        assert_eq!(status, 3, "as {user:?}: {text}");
        assert!(text.contains("another restage is writing"), "as {user:?}: {text}");
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
fn a_run_that_times_out_is_judged_by_its_results_so_far() {
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
fn a_limit_leaves_time_to_stop_and_to_judge() {
    let Some(user) = users().last() else { return };
    // It ignores its stop signal, and is killed 5 s after it: later than a worker used to have after its limit.
    let folder = scenario(
        &capture(&datagrams(3), 10),
        "[receiver]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 0.1; done\"]\nlistens = []\nsettle = \"60s\"\n[pacing]\nrate = \"topspeed\"\n[expect]\narrived = \"all\"\n",
    );
    let text = fs::read_to_string(folder.join("s.toml")).expect("it is there");
    fs::write(folder.join("s.toml"), text.replacen("format = 1\n", "format = 1\ntimeout = \"1s\"\n", 1))
        .expect("it can be written");
    let (status, text, report) = outcome(*user, &folder, &[]);
    assert_eq!(
        (status, report["verdict"].as_str(), &report["ledger"]["arrived"]),
        (1, Some("fail"), &3.into()),
        "{text}"
    );
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
