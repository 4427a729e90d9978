//! How closely the receiver's stack is looked at: at 100,000 frames a second nothing is lost that isn't counted, and the ledger is the same
//! however closely it was.

use crate::common::{User, fresh_folder, restage, run, stage, users};
use serde_json::Value;

/// 14,400 frames at 100,000 a second; `more` is what the scenario says beside that.
fn outcome(user: User, evidence: &str, more: &str) -> Value {
    let folder = fresh_folder("evidence");
    let scenario = folder.join("flood.toml");
    let capture = stage().join("scenarios/captures/appflow.pcapng");
    let text = format!(
        "format = 1\n[capture]\nfile = \"{}\"\n[pacing]\nrate = \"100000 pps\"\nrepeat = 20\n{more}",
        capture.display()
    );
    std::fs::write(&scenario, text).expect("it can be written");
    let run = run(user, ["--evidence", evidence, scenario.to_str().expect("a path of letters")]);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    assert!(run.status == 0, "{evidence} as {user:?}: {}", run.text);
    run.report["scenarios"][0].clone()
}

#[test]
fn at_100_kpps_no_record_is_lost_that_is_not_counted() {
    for user in users() {
        for evidence in ["packets", "counters", "auto", "off"] {
            let outcome = outcome(*user, evidence, "[expect]\naccepted = \"all\"\nconsumed = \"all\"\n");
            let ledger = &outcome["ledger"];
            let layers = &ledger["layers"];
            assert_eq!(ledger["accepted"], 14_400, "{evidence} as {user:?}");
            assert_eq!(ledger["losses"], serde_json::json!([]), "{evidence} as {user:?}");
            // Either every record came, or it is said how many did not, and the counters are believed.
            match layers["taps"].as_str() {
                Some("packets") => assert_eq!((evidence, &layers["taps-lost"]), ("packets", &Value::from(0))),
                Some("counters") if evidence == "packets" => {
                    assert!(layers["taps-lost"].as_u64() > Some(0), "{layers}")
                }
                Some(taps) => {
                    let least = matches!(evidence, "auto" | "off");
                    assert_eq!(taps, if least { "input" } else { evidence }, "{layers}");
                }
                None => panic!("{layers}"),
            }
            if evidence == "off" {
                assert_eq!(layers["kernel"], false);
            }
        }
    }
}

#[test]
fn a_flood_that_is_dropped_is_counted_to_the_last_packet() {
    let wrong = "[rewrite.destination]\nmac = \"02:00:00:00:00:99\"\n[lab]\nmac = \"02:00:00:00:00:02\"\n\
                 [expect]\nlosses = { OTHERHOST = \"all\" }\n";
    for user in users() {
        for evidence in ["packets", "auto", "off"] {
            let outcome = outcome(*user, evidence, wrong);
            let ledger = &outcome["ledger"];
            let loss = &ledger["losses"][0];
            assert_eq!((&loss["cause"], &loss["frames"]), (&Value::from("OTHERHOST"), &Value::from(14_400)));
            assert_eq!(loss["frame-numbers"], "1-720", "{evidence} as {user:?}");
            assert_eq!(ledger["disagreements"], Value::Null, "{evidence} as {user:?}");
            let listened = ledger["layers"]["kernel"] == true;
            assert_eq!(loss["evidence"], if listened { "kernel" } else { "stage" }, "{evidence} as {user:?}");
        }
    }
}

#[test]
fn help_explains_every_cause_and_lists_the_topics() {
    let said = |topic: &[&str]| {
        let output = restage(User::Caller).arg("help").args(topic).output().expect("restage runs");
        (output.status.code(), crate::common::both(&output))
    };
    let (status, page) = said(&["causes"]);
    assert_eq!(status, Some(0));
    for name in restage::Cause::names() {
        assert!(page.lines().any(|line| line == name), "{name}");
    }
    let (status, page) = said(&["ip_rpfilter"]);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(page);
    let (status, page) = said(&["run"]);
    assert!(status == Some(0) && page.contains("Usage: restage run"), "{page}");
    let (status, page) = said(&["everything"]);
    assert!(status == Some(2) && page.contains("restage help causes"), "{page}");
}
