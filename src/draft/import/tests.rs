//! Commands and the scenarios that they become; the other half of it is tests/suite/importing.rs, which runs them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::diagnostic::{Style, render};
use crate::scenario::{self, ScenarioText};

fn imported(commands: &str) -> Result<(String, Vec<Diagnostic>)> {
    let source = Arc::new(Source { path: "command line".into(), text: commands.to_owned() });
    let (draft, notes) = of_commands(&source, str::to_owned)?;
    let text = Source { path: "imported.toml".into(), text: draft.text(true) };
    scenario::check(&ScenarioText::of(Arc::new(text))?)?;
    Ok((draft.text(true), notes))
}

/// Each command line with what becomes of it.
fn shown(all: &[&str]) -> String {
    let mut text = String::new();
    for commands in all {
        let _infallible = writeln!(text, "$ {commands}");
        let _infallible = match imported(commands) {
            Ok((scenario, notes)) => {
                let notes: Vec<_> = notes.iter().map(|note| format!("! {}\n", note.what)).collect();
                writeln!(text, "{scenario}{}", notes.concat())
            }
            Err(failure) => writeln!(text, "{failure}\n"),
        };
    }
    text
}

#[test]
fn the_programs_of_tcpreplay_become_scenarios() {
    insta::assert_snapshot!(shown(&[
        "tcpreplay -i eth0 --loop=5 --pps=0.25 a.pcap",
        "sudo /usr/bin/tcpreplay --intf1 eth0 -tK -l0 --duration=10 a.pcap",
        "tcpreplay -i eth0 -x2.50 a.pcap b.pcap >/dev/null 2>&1 &",
        "tcpreplay -2 -i eth0 -I eth1 -M 0 client.pcap server.pcap",
        "tcprewrite --pnat=10.0.0.0/8:192.0.2.0/24,[2001:db8::/32]:[fd00::/16] -b -i a.pcap -o b.pcap",
        "tcprewrite -S 172.16.0.0/12:10.0.0.0/8,172.16.1.0/24:10.9.9.0/24 -D 0.0.0.0/0:192.0.2.20 -i a.pcap -o b.pcap",
        "tcprewrite --enet-vlan=add --enet-vlan-tag=10 -i a -o b; tcprewrite --enet-vlan=add --enet-vlan-tag=20 --enet-vlan-pri=3 --enet-vlan-proto=802.1ad -i b -o c",
        "tcprewrite --enet-vlan=del --enet-dmac=00:00:5E:00:53:01 --enet-subsmac=00:00:5e:00:53:02,00:00:5e:00:53:03 -i a -o b",
        "tcprewrite --mtu=1400 --mtu-trunc --fixlen=pad --ttl=64 --tos=184 --dlt=enet -i a -o b",
        "tcpprep -c 10.0.0.0/24 -i a -o c; tcprewrite -e 192.0.2.1:192.0.2.2 -c c -i a -o b; tcpreplay -c c -i eth0 -I eth1 b",
        "tcpprep --port -X P:1-3,7 -i a -o c\ntcpreplay-edit -c c -C -i eth0 -I eth1 --unique-ip -l 3 a",
        "tcprewrite --enet-dmac=00:00:5e:00:53:01,00:00:5e:00:53:02 --enet-smac=00:00:5e:00:53:02,00:00:5e:00:53:01 -c x -i a -o b",
    ]));
}

#[test]
fn bittwist_and_udpreplay_become_scenarios() {
    insta::assert_snapshot!(shown(&[
        "bittwist -i eth0 -m 0 -r 100 -l 0 -c 1000 a.pcap",
        "bittwist -i eth0 -p 500 -s -1 -v a.pcap",
        "bittwiste -I a -O b -R 5-21 -T eth -d 00:00:5e:00:53:01 -s 00:00:5e:00:53:02,00:00:5e:00:53:03 && bittwiste -I b -O c -C -T ip -s 192.0.2.1 -t 3 -i 5 && bittwist -i eth0 c",
        "bittwiste -I a -O b -T udp -d 53,5353 -s rand",
        "bittwiste -I a -O b -T ip6 -c 46 -f 0x10 -h 9 -d ::1,2001:db8::1",
        "udpreplay -i eth0 -s 0.5 -r 3 -t 8 a.pcap",
        "udpreplay -c 10 -r -1 -l a.pcap",
    ]));
}

#[test]
fn a_script_is_read_as_a_shell_reads_it() {
    insta::assert_snapshot!(shown(&[
        "#!/bin/sh\nset -e\nIN='my capture.pcap' # the capture\nOPTIONS=\"-i eth0 --pps=10\"\ntcpreplay $OPTIONS \\\n  \"$IN\"\n",
        "sudo -n ip netns exec lab tcpreplay -i eth0 a.pcap",
        "command -v tcpreplay; which tcpreplay; tcprewrite -D 10.0.0.1:192.0.2.1 -i a -o b; tcpprep -a client -x D:192.0.2.1 -i b -o c; tcpreplay -c c -i eth0 b",
    ]));
}

#[test]
fn what_is_no_scenario_is_told_with_its_place() {
    insta::assert_snapshot!(shown(&[
        "",
        "echo hello",
        "tcpreplay --ppx=4 a.pcap",
        "tcpreplay -i",
        "tcpreplay --topspeed=1 a.pcap",
        "tcpreplay -i eth0",
        "tcpreplay -i $INTERFACE a.pcap",
        "tcpreplay -i \"eth0 a.pcap",
        "tcpreplay -i eth0 `ls`",
        "for f in *.pcap; do tcpreplay -i eth0 $f; done",
        "tcpreplay -i eth0 a.pcap; tcpreplay -i eth0 b.pcap",
        "tcprewrite -i a -o b; tcprewrite -i c -o d",
        "tcprewrite --srcipmap=10.0.0.0/33:1.2.3.4 -i a -o b",
        "tcprewrite -D 10.0.0.0/8:192.0.2.0/24 -i a -o b; tcprewrite -D 192.0.2.0/24:198.51.100.0/24 -i b -o c",
        "tcprewrite --portmap=80 -i a -o b",
        "tcprewrite --enet-vlan-tag=3 -i a -o b",
        "tcpreplay --pps=fast a.pcap",
        "bittwiste -I a -O b -T ipx -s 3",
    ]));
}

/// A value that an option takes.
fn sample(name: &str) -> &'static str {
    match name {
        "portmap" => "53:5353",
        "pnat" | "srcipmap" | "dstipmap" => "10.0.0.0/8:192.0.2.0/24",
        "endpoints" => "192.0.2.1:192.0.2.2",
        "fixlen" => "pad",
        "dlt" => "enet",
        "enet-dmac" | "enet-smac" => "00:00:5e:00:53:01",
        "enet-subsmac" => "00:00:5e:00:53:01,00:00:5e:00:53:02",
        "enet-vlan" => "add",
        "enet-vlan-proto" => "802.1ad",
        "cidr" => "10.0.0.0/8",
        "mac" => "00:00:5e:00:53:01",
        "include" | "exclude" => "P:1-5",
        "mtu" => "1400",
        _ => "1",
    }
}

#[test]
fn no_option_is_dropped_without_a_word() {
    let what = |commands: &str| {
        let (text, notes) = imported(commands).unwrap_or_else(|failure| panic!("{commands}\n{failure}"));
        // Without the commands themselves, which are quoted above.
        (text.split_once("format = 1").expect("it has one").1.to_owned(), notes.len())
    };
    // The options with the command that has them in place of `{}`.
    let programs: [(options::Tables, &str, &[&str]); 3] = [
        (tcprewrite::ALL, "tcprewrite -i a {} -o b", &["infile", "outfile", "cachefile"]),
        (tcpreplay::TCPREPLAY_EDIT, "tcpreplay-edit {} a", &["cachefile"]),
        (tcpprep::ALL, "tcpprep {} -i a -o c; tcpreplay -c c -i x a", &["pcap", "cachefile"]),
    ];
    let mut seen = 0;
    for (tables, command, files) in programs {
        for opt in tables.iter().flat_map(|table| table.iter()).filter(|opt| !files.contains(&opt.name())) {
            let name = opt.name();
            let vlan = if name.starts_with("enet-vlan-") { "--enet-vlan=add " } else { "" };
            let with = if opt.takes_value() { format!("--{name}={}", sample(name)) } else { format!("--{name}") };
            // Once is what is done without it.
            let with = if name == "loop" { "--loop=2".to_owned() } else { with };
            let with = command.replace("{}", &format!("{vlan}{with}"));
            assert_ne!(what(&with), what(&command.replace("{}", vlan)), "{with}");
            seen += 1;
        }
    }
    // Those that have single letters alone.
    let mut short = vec![
        (bittwist::ALL, "bittwist {} a".to_owned(), vec![]),
        (udpreplay::ALL, "udpreplay {} a".to_owned(), vec![]),
        (&[bittwiste::GENERAL], "bittwiste -I a -O b {}".to_owned(), vec!["I", "O", "T"]),
    ];
    short.extend(
        bittwiste::HEADERS.map(|(header, tables)| (tables, format!("bittwiste -I a -O b -T {header} {{}}"), vec![])),
    );
    for (tables, command, files) in short {
        for opt in tables.iter().flat_map(|table| table.iter()).filter(|opt| !files.contains(&opt.name())) {
            let name = opt.name();
            let value = match (command.contains("-T eth"), command.contains("-T ip"), name) {
                (true, _, _) => "00:00:5e:00:53:01",
                (_, true, "s" | "d") if command.contains("ip6") => "2001:db8::1",
                (_, true, "s" | "d") => "192.0.2.1",
                _ => "14",
            };
            let with = if opt.takes_value() { format!("-{name} {value}") } else { format!("-{name}") };
            let with = command.replace("{}", &with);
            assert_ne!(what(&with), what(&command.replace("{}", "")), "{with}");
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn the_examples_of_the_documents_are_what_import_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coming-from-tcpreplay.md");
    let document = fs::read_to_string(&path).expect("it is there");
    let mut made = String::new();
    let mut rest = document.as_str();
    while let Some((before, block)) = rest.split_once("```sh\n") {
        let (commands, after) = block.split_once("```\n").expect("the block ends");
        let _infallible = write!(made, "{before}```sh\n{commands}```\n");
        let Some(old) = after.strip_prefix("\n```toml\n") else {
            rest = after;
            continue;
        };
        let (scenario, notes) = imported(commands).unwrap_or_else(|failure| panic!("{commands}\n{failure}"));
        assert!(notes.iter().all(|note| !render(std::slice::from_ref(note), Style::Plain).is_empty()));
        let scenario = scenario.split_once("\nformat = 1").expect("it has one").1;
        let _infallible = write!(made, "\n```toml\nformat = 1{scenario}```\n");
        rest = old.split_once("```\n").expect("the block ends").1;
    }
    made.push_str(rest);
    if std::env::var_os("RESTAGE_UPDATE").is_some() {
        fs::write(&path, &made).expect("it can be written");
    }
    assert!(
        made == document || std::env::var_os("RESTAGE_UPDATE").is_some(),
        "`RESTAGE_UPDATE=1 cargo test --lib draft::` writes docs/coming-from-tcpreplay.md anew"
    );
}
