//! What rules of nftables come to, walked as the kernel does.

use super::*;
use crate::host::{Filter, Ruleset};

/// The receiver of the table behind chains, each with a hook, a policy and its rules as `nft -j` prints them; `sub` is one to jump to, `hosts`
/// a set.
fn behind(chains: &[(&str, &str, &[&str])]) -> Host {
    let mut objects = vec![
        r#"{"set": {"family": "inet", "table": "t", "name": "hosts", "elem": [{"prefix": {"addr": "10.9.0.0", "len": 24}}]}}"#.to_owned(),
        r#"{"chain": {"family": "inet", "table": "t", "name": "sub"}}"#.to_owned(),
        rule("sub", &format!("{}, {{\"accept\": null}}", port("==", "4739"))),
    ];
    for (index, (hook, policy, rules)) in chains.iter().enumerate() {
        let kind = if *hook == "prerouting" { "nat" } else { "filter" };
        objects.push(format!(
            r#"{{"chain": {{"family": "inet", "table": "t", "name": "c{index}", "type": "{kind}", "hook": "{hook}", "prio": {index}, "policy": "{policy}"}}}}"#
        ));
        objects.extend(rules.iter().map(|statements| rule(&format!("c{index}"), statements)));
    }
    let json = format!("{{\"nftables\": [{}]}}", objects.join(", "));
    let rules = Ruleset::read(&json).expect("what nft prints");
    with(|host| host.filter = Filter::Rules(rules.clone()))
}

fn rule(chain: &str, statements: &str) -> String {
    format!(r#"{{"rule": {{"family": "inet", "table": "t", "chain": "{chain}", "expr": [{statements}]}}}}"#)
}

/// A match of the UDP port.
fn port(operator: &str, right: &str) -> String {
    format!(
        r#"{{"match": {{"op": "{operator}", "left": {{"payload": {{"protocol": "udp", "field": "dport"}}}}, "right": {right}}}}}"#
    )
}

/// A match of the state of the connection.
fn state(states: &str) -> String {
    format!(r#"{{"match": {{"op": "in", "left": {{"ct": {{"key": "state"}}}}, "right": {states}}}}}"#)
}

const ACCEPT: &str = r#"{"accept": null}"#;
const DROP: &str = r#"{"drop": null}"#;

#[test]
fn plain_rules_are_walked_and_what_is_not_known_is_open() {
    let dropped = Disposition::Lost(Cause::NetfilterDrop);
    let both = |first: &str, verdict: &str| format!("{first}, {verdict}");
    let from = |right: &str| {
        format!(
            r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}}, "right": {right}}}}}"#
        )
    };
    let mark = r#"{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 1}}"#;
    let cases: Vec<(&str, Vec<String>, Disposition)> = vec![
        ("drop", vec![both(&port("==", "4739"), ACCEPT)], Disposition::Delivered),
        ("drop", vec![both(&port("==", "{\"set\": [53, 99]}"), ACCEPT)], dropped),
        ("drop", vec![both(&port("==", "{\"range\": [4000, 5000]}"), ACCEPT)], Disposition::Delivered),
        ("accept", vec![both(&port("!=", "4739"), DROP)], Disposition::Delivered),
        ("accept", vec![both(&port("==", "4739"), "{\"reject\": null}")], dropped),
        ("drop", vec![both(&from("\"@hosts\""), ACCEPT)], Disposition::Delivered),
        ("drop", vec![r#"{"jump": {"target": "sub"}}"#.to_owned()], Disposition::Delivered),
        ("drop", vec![r#"{"vmap": {"key": {"payload": {"protocol": "udp", "field": "dport"}}, "data": {"set": [[4739, {"accept": null}]]}}}"#.to_owned()], Disposition::Delivered),
        // What is established was accepted before; what is dropped never becomes it.
        ("drop", vec![both(&state("[\"established\", \"related\"]"), ACCEPT)], dropped),
        ("drop", vec![both(&state("\"invalid\""), DROP), both(&port("==", "4739"), ACCEPT)], Disposition::Delivered),
        ("drop", vec![both(&state("\"new\""), ACCEPT)], Disposition::Open),
        // What is not known matters only where it makes a difference.
        ("drop", vec![both(mark, ACCEPT)], Disposition::Open),
        ("accept", vec![both(mark, ACCEPT)], Disposition::Delivered),
        ("accept", vec![both(mark, DROP), DROP.to_owned()], dropped),
        ("accept", vec!["{\"xt\": {\"type\": \"match\"}}".to_owned()], Disposition::Open),
    ];
    for (policy, rules, expected) in cases {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let host = behind(&[("input", policy, &rules)]);
        assert_eq!(disposition(&datagram("10.9.0.1", "10.9.0.2", 4739), &host), expected, "policy {policy}, {rules:?}");
    }
}

#[test]
fn a_translated_datagram_goes_to_its_new_port_and_address() {
    let redirect = format!("{}, {}", port("==", "514"), r#"{"redirect": {"port": 4739}}"#);
    let host = behind(&[("prerouting", "accept", &[&redirect])]);
    let key = datagram("10.9.0.1", "10.9.0.2", 514);
    assert_eq!(disposition(&key, &host), Disposition::Delivered);
    // Connections of datagrams with a wrong checksum are not translated.
    assert_eq!(disposition(&ClassKey { flaw: Flaw::UdpSum, ..key }, &host), Disposition::Lost(Cause::UdpCsum));
    let away = format!("{}, {}", port("==", "4739"), r#"{"dnat": {"family": "ip", "addr": "10.9.0.77"}}"#);
    let host = behind(&[("prerouting", "accept", &[&away])]);
    let lost = prediction(datagram("10.9.0.1", "10.9.0.2", 4739), &host);
    assert_eq!(lost.disposition, Disposition::Lost(Cause::IpInaddrerrors));
    assert!(lost.why.starts_with("10.9.0.77"), "{}", lost.why);
}

#[test]
fn a_ruleset_that_can_not_be_read_leaves_the_end_open_with_the_reason() {
    let host = with(|host| host.filter = Filter::Unseen("there is no program `nft`".to_owned()));
    let open = prediction(datagram("10.9.0.1", "10.9.0.2", 4739), &host);
    assert_eq!(
        (open.disposition, open.why.as_str()),
        (Disposition::Open, "the ruleset can't be predicted: there is no program `nft`")
    );
    assert!(Ruleset::read("nothing").is_none());
}
