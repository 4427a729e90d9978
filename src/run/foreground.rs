//! How servers stay in the foreground: for the messages about an application that went into the background.

/// Servers that go into the background by default or with an option, and how each is kept in the foreground (its manual page).
const SERVERS: &[(&str, &str)] = &[
    ("argus", "without `-d`, and `ARGUS_DAEMON=no` in its configuration"),
    ("avahi-daemon", "without `-D`"),
    ("chronyd", "with `-d`"),
    ("collectd", "with `-f`"),
    ("dhcpd", "with `-f`"),
    ("dnsmasq", "with `-k` (`--keep-in-foreground`), or `-d`"),
    ("fprobe", "with `-f`"),
    ("freeradius", "with `-f`, or `-X`"),
    ("haproxy", "with `-db`"),
    ("in.tftpd", "with `-L` (`--foreground`)"),
    ("kamailio", "with `-DD -E`"),
    ("keepalived", "with `-n`"),
    ("kea-dhcp4", "without `keactrl`"),
    ("knotd", "without `-d`"),
    ("memcached", "without `-d`"),
    ("named", "with `-f`, or `-g`, which also logs to standard error"),
    ("nfacctd", "without `-D`, and `daemonize: false` in its configuration"),
    ("nfcapd", "without `-D`"),
    ("nfpcapd", "without `-D`"),
    ("nginx", "with `-g 'daemon off;'`"),
    ("nsd", "with `-d`"),
    ("ntpd", "with `-n`"),
    ("opensips", "with `-F -E`"),
    ("pmacctd", "without `-D`, and `daemonize: false` in its configuration"),
    ("radiusd", "with `-f`, or `-X`"),
    ("radvd", "with `-n`"),
    ("rsyslogd", "with `-n`"),
    ("sfacctd", "without `-D`, and `daemonize: false` in its configuration"),
    ("sfcapd", "without `-D`"),
    ("snmpd", "with `-f`"),
    ("snmptrapd", "with `-f`"),
    ("softflowd", "with `-d`"),
    ("squid", "with `-N`"),
    ("stunnel", "with `foreground = yes` in its configuration"),
    ("syslog-ng", "with `-F`"),
    ("syslogd", "with `-n`"),
    ("tinyproxy", "with `-d`"),
    ("unbound", "with `-d`"),
    ("vsftpd", "with `background=NO` in its configuration"),
];

/// How the server in this command is kept in the foreground: `named` with `-f`. A wrapper or a shell may start it.
pub(super) fn advice(command: &[String]) -> Option<String> {
    let words = command.iter().flat_map(|word| word.split([' ', '\t', '\n', ';', '&', '|', '(', ')', '\'', '"']));
    words.filter_map(|word| word.rsplit('/').next()).find_map(|program| {
        let (_, how) = SERVERS.iter().find(|(server, _)| *server == program)?;
        Some(format!("run `{program}` {how}"))
    })
}

#[cfg(test)]
mod tests {
    use super::advice;

    fn of(command: &[&str]) -> Option<String> {
        advice(&command.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_server_is_found_behind_paths_wrappers_and_shells() {
        let nfcapd = Some("run `nfcapd` without `-D`".to_owned());
        assert_eq!(of(&["/usr/bin/nfcapd", "-D", "-p", "4739"]), nfcapd);
        assert_eq!(of(&["env", "A=b", "nfcapd", "-D"]), nfcapd);
        assert_eq!(of(&["sh", "-c", "cd {work}; nfcapd -D -w {work} && sleep 5"]), nfcapd);
        assert_eq!(of(&["sh", "-c", "echo 'my-nfcapd'"]), None);
        assert_eq!(of(&["snmptrapd"]), Some("run `snmptrapd` with `-f`".to_owned()));
    }
}
