//! How frames are sent and what arrives, as a user asks for it and sees it: limits, senders, the search for a rate, what is kept.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{User, fresh_folder, restage, stage, users};
use serde_json::Value;

/// Runs a scenario of the appflow capture with these further lines: its part of the report, and what it printed.
fn replay(user: User, folder: &Path, name: &str, lines: &str) -> (Value, String) {
    let capture = stage().join("scenarios/captures/appflow.pcapng");
    let scenario = folder.join(format!("{name}.toml"));
    let text = format!("format = 1\n[capture]\nfile = \"{}\"\n{lines}", capture.display());
    fs::write(&scenario, text).expect("it can be written");
    let report = folder.join("report.json");
    let output = restage(user).arg("run").arg(&scenario).arg("--report-json").arg(&report).output().expect("it starts");
    let text = crate::common::both(&output);
    let report = fs::read(&report).unwrap_or_else(|_| panic!("there is a report: {text}"));
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    (report["scenarios"][0].clone(), text)
}

fn remove(folder: &Path) {
    fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn what_a_limit_leaves_out_is_no_loss() {
    let folder = fresh_folder("limit");
    // A frame each 100 µs, the first at 0.
    for (rate, limit, selected) in [
        ("10000 pps", "1000 packets", 1000),
        ("10000 pps", "1 KiB", 1),
        ("10000 pps", "100ms", 1001),
        ("topspeed", "1000 packets", 1000),
        ("topspeed", "1 KiB", 1),
    ] {
        for user in users() {
            let lines = format!("[pacing]\nrate = \"{rate}\"\nrepeat = 2\nlimit = \"{limit}\"\n");
            let (outcome, text) = replay(*user, &folder, "limit", &lines);
            assert_eq!(outcome["verdict"], "pass", "{text}");
            let stages = ["selected", "sent", "arrived", "consumed"].map(|stage| outcome["ledger"][stage].as_u64());
            assert_eq!(stages, [Some(selected); 4], "{rate}, {limit}: {text}");
        }
    }
    remove(&folder);
}

#[test]
fn a_limit_in_time_ends_top_speed_and_the_ledger_adds_up() {
    let folder = fresh_folder("limit-top");
    for user in users() {
        let lines = "[pacing]\nrate = \"topspeed\"\nrepeat = 100000\nlimit = \"50ms\"\n";
        let (outcome, text) = replay(*user, &folder, "limit", lines);
        assert_eq!(outcome["verdict"], "pass", "{text}");
        let ledger = &outcome["ledger"];
        let sent = ledger["sent"].as_u64().expect("a count");
        assert!(sent > 0 && sent < 720 * 100_000, "{text}");
        for stage in ["selected", "arrived", "delivered", "consumed"] {
            assert_eq!(ledger[stage].as_u64(), Some(sent), "{stage}: {text}");
        }
    }
    remove(&folder);
}

#[test]
fn both_senders_work_for_every_user_and_say_why_they_were_taken() {
    let folder = fresh_folder("senders");
    for (rate, sender, used) in [
        ("topspeed", "auto", "xdp"),
        ("topspeed", "xdp", "xdp"),
        ("topspeed", "packet", "packet"),
        ("20000 pps", "auto", "packet"),
        ("20000 pps", "xdp", "xdp"),
    ] {
        for user in users() {
            let lines = format!(
                "[pacing]\nrate = \"{rate}\"\nsender = \"{sender}\"\n[expect]\nconsumed = \"all\"\norder = \"captured\"\n"
            );
            let (outcome, text) = replay(*user, &folder, "sender", &lines);
            assert_eq!(outcome["verdict"], "pass", "{text}");
            assert_eq!(outcome["replay"]["sender"], used, "{}", outcome["replay"]["sender-why"]);
            assert!(outcome["replay"]["sender-why"].as_str().is_some_and(|why| !why.is_empty()));
        }
    }
    remove(&folder);
}

#[test]
fn the_search_ends_with_a_rate_and_the_ledger_of_a_trial_without_loss() {
    let folder = fresh_folder("find");
    for user in users() {
        let (outcome, text) = replay(*user, &folder, "find", "[pacing]\nrate = \"max-lossless\"\nrepeat = 3\n");
        assert_eq!(outcome["verdict"], "pass", "{text}");
        let find = &outcome["replay"]["max-lossless"];
        assert!(find["pps"].as_f64().is_some_and(|pps| pps > 0.0), "{text}");
        assert!(find["trials"].as_array().is_some_and(|trials| trials.len() > 1), "{text}");
        // A trial repeats the whole until it has taken a second.
        let consumed = outcome["ledger"]["consumed"].as_u64().expect("a count");
        assert!(consumed > 0 && consumed.is_multiple_of(2160), "{text}");
        assert_eq!(outcome["ledger"]["selected"].as_u64(), Some(consumed), "{text}");
    }
    remove(&folder);
}

/// Not a test: the application of the one below. It reads a datagram each 2 ms, until it is killed.
#[test]
#[ignore = "an application that another test starts"]
fn slow_receiver() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:4739").expect("the port is free");
    let mut next = Instant::now();
    loop {
        socket.recv(&mut [0; 2048]).expect("a datagram");
        // Times are counted from one to the next, so that a busy machine does not make it slower.
        let now = Instant::now();
        let late = now.saturating_duration_since(next).saturating_sub(Duration::from_millis(50));
        next += late + Duration::from_millis(2);
        std::thread::sleep(next.saturating_duration_since(now));
    }
}

#[test]
fn a_receiver_that_only_queues_does_not_keep_up() {
    let folder = fresh_folder("find-slow");
    let program = stage().join("slow-receiver");
    crate::common::copy_program(&std::env::current_exe().expect("this program"), &program);
    for user in users() {
        let lines = format!(
            "frames = \"1-100\"\n[pacing]\nrate = \"max-lossless\"\n[receiver]\nlistens = [\"udp:0.0.0.0:4739\"]\n\
             command = [\"{}\", \"--ignored\", \"--exact\", \"replaying::slow_receiver\"]\n",
            program.display()
        );
        let (outcome, text) = replay(*user, &folder, "find", &lines);
        assert_eq!(outcome["verdict"], "pass", "{text}");
        let find = &outcome["replay"]["max-lossless"];
        let pps = find["pps"].as_f64().expect("a rate");
        assert!((400.0..600.0).contains(&pps), "{pps}: {text}");
        // All 100 frames fit into its receive buffer, at any rate.
        let probe = &find["trials"][0];
        assert_eq!((&probe["lost"], &probe["kept-up"]), (&0.into(), &false.into()), "{text}");
    }
    remove(&folder);
}

#[test]
fn long_frames_with_deadlines_do_not_overflow_the_receive_ring() {
    let folder = fresh_folder("long-frames");
    let mut capture = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1].map(u32::to_le_bytes).concat();
    for number in 0..20_u8 {
        let payload = vec![number; if number % 2 == 0 { 65_507 } else { 8_900 }];
        let ports = [4739, 4739, 8 + u16::try_from(payload.len()).expect("short"), 0];
        let udp = [ports.map(u16::to_be_bytes).concat(), payload].concat();
        let mut frame = crate::mixed::ip("192.0.2.1", "192.0.2.2", 17, (u16::from(number), 0), &udp);
        frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        let length = u32::try_from(frame.len()).expect("short");
        capture.extend([1, 0, length, length].map(u32::to_le_bytes).concat());
        capture.extend(frame);
    }
    fs::write(folder.join("long.pcap"), capture).expect("it can be written");
    for user in users() {
        // Faster than this machine sends, so that frames go as soon as there is room.
        let lines = "[lab]\nmtu = 65535\n[pacing]\nrate = \"10 Mpps\"\nrepeat = 500\n[expect]\narrived = \"all\"\n";
        let scenario = folder.join("long.toml");
        let text = format!("format = 1\ntimeout = \"5min\"\n[capture]\nfile = \"long.pcap\"\n{lines}");
        fs::write(&scenario, text).expect("it can be written");
        let run = crate::common::run(*user, [&scenario]);
        let outcome = &run.report["scenarios"][0];
        assert_eq!(outcome["verdict"], "pass", "{}", run.text);
        assert_eq!(outcome["ledger"]["arrived"], 10_000, "{}", run.text);
        assert!(run.text.contains("requested 10 Mpps, achieved "), "{}", run.text);
    }
    remove(&folder);
}

#[test]
fn deviations_are_those_of_the_receive_times_where_frames_have_deadlines() {
    let Some(user) = users().first().copied() else { return };
    let folder = fresh_folder("timed-by");
    for (rate, timed_by) in [("20000 pps", "receiver"), ("topspeed", "sender")] {
        let (outcome, text) = replay(user, &folder, "timed-by", &format!("[pacing]\nrate = \"{rate}\"\n"));
        assert_eq!(outcome["replay"]["timed-by"], timed_by, "{text}");
        assert_eq!(outcome["replay"]["lateness-us"].is_null(), timed_by == "sender", "{text}");
    }
    remove(&folder);
}

#[test]
fn reported_deviations_are_those_of_the_kept_receive_times() {
    let folder = fresh_folder("lateness");
    // Between them lie frames that are not selected: they are read before the deadlines come.
    let lines =
        "frames = \"1-100,621-720\"\n[pacing]\nrate = \"every 1ms\"\n[receiver]\nsave-capture = \"arrived.pcapng\"\n";
    for user in users() {
        let (outcome, text) = replay(*user, &folder, "lateness", lines);
        assert_eq!(outcome["replay"]["timed-by"], "receiver", "{text}");
        let mut kept = pcap::Capture::from_file_with_precision(folder.join("arrived.pcapng"), pcap::Precision::Nano)
            .expect("a capture");
        let mut late = Vec::new();
        while let Ok(frame) = kept.next_packet() {
            let due = 1e3 * f64::from(u32::try_from(late.len()).expect("few"));
            // With this precision the second field is nanoseconds.
            let [seconds, ns] = [frame.header.ts.tv_sec % 10_000, frame.header.ts.tv_usec]
                .map(|part| f64::from(i32::try_from(part).expect("of four, of nine digits")));
            late.push(seconds * 1e6 + ns / 1e3 - due);
        }
        assert_eq!(late.len(), 200, "{text}");
        late.sort_by(f64::total_cmp);
        let mut deviations: Vec<f64> = late.iter().map(|each| (each - late[99]).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        // Histograms keep three digits of how late each frame was.
        let tolerance = 2.0 + (late[199] - late[0]) / 100.0;
        for (key, seen) in [("p50", deviations[99]), ("p99", deviations[197]), ("max", deviations[199])] {
            let reported = outcome["replay"]["lateness-us"][key].as_f64().expect("a figure");
            assert!((reported - seen).abs() <= tolerance, "{key}: {reported} for {seen} of {deviations:?}");
        }
    }
    remove(&folder);
}

#[test]
fn a_receiver_that_loses_at_any_rate_ends_the_search_with_its_cause() {
    let Some(user) = users().first().copied() else { return };
    let folder = fresh_folder("find-nothing");
    let lines = "[rewrite.source]\nip = { \"10.44.1.0/24\" = \"127.0.0.0/24\" }\n[pacing]\nrate = \"max-lossless\"\n";
    let (outcome, text) = replay(user, &folder, "find", lines);
    assert_eq!(outcome["verdict"], "fail", "{text}");
    let find = &outcome["replay"]["max-lossless"];
    assert!(find["pps"].is_null(), "{text}");
    assert_eq!(find["limit"]["cause"], "IP_LOCALNET", "{text}");
    remove(&folder);
}

#[test]
fn what_arrived_is_kept_with_the_numbers_of_the_sent_frames() {
    let Some(user) = users().first().copied() else { return };
    let folder = fresh_folder("keep");
    let lines =
        "frames = \"11-20\"\n[pacing]\nrate = \"every 1ms\"\n[receiver]\nsave-capture = \"kept/arrived.pcapng\"\n";
    let (outcome, text) = replay(user, &folder, "keep", lines);
    assert_eq!(outcome["verdict"], "pass", "{text}");
    let path = folder.join("kept/arrived.pcapng");
    let mut reader = pcap::Capture::from_file(&path).expect("a capture");
    let mut times = Vec::new();
    let mut lengths = Vec::new();
    while let Ok(frame) = reader.next_packet() {
        times.push((frame.header.ts.tv_sec, frame.header.ts.tv_usec));
        lengths.push(frame.data.len());
    }
    assert_eq!(times.len(), 10);
    assert!(times.is_sorted() && lengths.iter().all(|length| *length > 42), "{times:?} {lengths:?}");
    let bytes = fs::read(&path).expect("it is there");
    for frame in 11..=20 {
        let comment = format!("sent frame {frame}");
        assert!(bytes.windows(comment.len()).any(|part| part == comment.as_bytes()), "{comment}");
    }
    assert!(!folder.join("kept/arrived.pcapng.new").exists());
    remove(&folder);
}
