#!/usr/bin/env bash
# Records the captures of this folder from real software, in network namespaces of its own, and runs appflow.py.
#
#   sudo scenarios/captures/record.sh [FOLDER]      (default: the folder of this script)
#
# Needs root, and these Debian packages: bash coreutils gzip util-linux bsdextrautils iproute2 ethtool nftables procps
# tcpdump tcpreplay iputils-ping bind9-dnsutils dnsmasq-base softflowd snmp python3.
#
# A recording differs from the last one in times, ports and DNS identifiers, so its checksums in README.md are new; the
# numbers of frames and flows should be the same, and the scenarios count on them: `restage run scenarios` tells.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)
source "$here/lab.sh"

syslog() { # address options… message: one datagram of util-linux's logger
    local to=$1; shift
    at $edge logger --server "$to" --port 514 --udp "$@"
}

# softflowd reads what tcpdump saw on lan0. On the interface itself softflowd 1.1.0 with libpcap 1.10 sees nothing until the
# kernel's first buffer block is full, which this little traffic never does.
export_flows() { # file version address port [options of tcpdump]…
    local file=$1 version=$2 address=$3 port=$4; shift 4
    record "$file" "udp dst port $port" "$@"
    # Reading a file it stays in the foreground; with -c it would wait for somebody on its control socket.
    timeout 10 ip netns exec $edge softflowd -r "$scratch/lan.pcap" -v "$version" -n "$address:$port" >/dev/null 2>&1
    recorded
}

flow_exports() {
    lan_traffic
    export_flows softflowd-ipfix.pcap 10 10.44.20.9 4739
    export_flows softflowd-ipfix-over-ipv6.pcap 10 '[fd44:20::9]' 4739
    export_flows softflowd-netflow-v9.pcap 9 10.44.20.9 2055 --nano
    export_flows softflowd-netflow-v5.pcap 5 10.44.20.9 2055
}

dns() {
    start $collector dnsmasq --no-daemon --conf-file="$here/../config/dnsmasq.conf"
    local dns=${pids[-1]} question
    until_true ip netns exec $edge dig +time=1 +tries=1 @10.44.20.53 www.lab.example
    local questions=(
        "www.lab.example A" "www.lab.example AAAA" "flows.lab.example A" "flows.lab.example AAAA" "mail.lab.example A"
        "lab.example MX" "lab.example TXT" "_syslog._udp.lab.example SRV" "nobody.lab.example A" "-x 192.0.2.80"
    )
    for server in 10.44.20.53 fd44:20::53; do
        for question in "${questions[@]}"; do
            echo "@$server +noedns $question"
            echo "@$server +edns=0 +bufsize=1232 +cookie=6c61622d6578616d +dnssec $question"
        done
    done >"$scratch/questions"
    record dns.pcap 'udp port 53' --nano
    ip netns exec $edge dig -f "$scratch/questions" >/dev/null
    recorded
    record dns-over-tcp.pcap 'tcp port 53'
    ip netns exec $edge dig @10.44.20.53 +tcp lab.example TXT >/dev/null
    recorded
    kill "$dns"; wait "$dns" || true
}

syslogs() {
    local i
    record syslog.pcap 'udp dst port 514'
    for i in $(seq 20); do
        syslog 10.44.20.9 --rfc3164 --priority local4.info --tag "sshd[$((4000 + i))]" "session $i opened for user root(uid=0)"
        syslog 10.44.20.9 --rfc5424=notq --priority local4.warning --tag kernel --id=$i --msgid link \
            --sd-id origin@32473 --sd-param 'unit="edge"' "eth$i: link is down"
    done
    recorded
    record syslog-over-ipv6.pcap 'udp dst port 514'
    for i in $(seq 12); do syslog fd44:20::9 --rfc5424=notq --priority daemon.notice --tag ntpd "peer $i: clock is stepped"; done
    recorded

    # 3,000 bytes and more do not fit into a frame: three fragments each.
    record syslog-in-fragments.pcap 'ip dst 10.44.20.9'
    for i in $(seq 4); do syslog 10.44.20.9 --rfc3164 --size 4096 --tag backup "report $i: $(printf 'file%05d ' $(seq 350))"; done
    recorded

    # The same on a network with jumbo frames.
    ip -n $edge link set up0 mtu 9000
    ip -n $collector link set col0 mtu 9000
    record syslog-in-jumbo-frames.pcap 'udp dst port 514'
    for i in $(seq 4); do syslog 10.44.20.9 --rfc3164 --size 4096 --tag backup "report $i: $(printf 'file%05d ' $(seq 350))"; done
    recorded
    ip -n $edge link set up0 mtu 1500
    ip -n $collector link set col0 mtu 1500

    # What `tcpdump -i any` leaves instead of Ethernet headers: the "cooked" ones of Linux, version 2, with the sender's MAC alone.
    interface=any record syslog-on-any-interface.pcap 'udp dst port 514'
    for i in $(seq 5); do
        syslog 10.44.20.9 --rfc3164 --tag cooked "message $i"
        syslog fd44:20::9 --rfc3164 --tag cooked "message $i over IPv6"
    done
    recorded

    # To a group: 239.44.20.14 is of the range for an organisation's own use (RFC 2365).
    ip -n $edge route add 239.0.0.0/8 dev up0
    record syslog-to-a-group.pcap 'udp dst port 514'
    for i in $(seq 6); do syslog 239.44.20.14 --rfc3164 --tag beacon "alive $i"; done
    recorded

    # In VLAN 44. Not every kernel has VLAN devices, so the tag is put on afterwards, as a mirror port would have left it.
    record syslog-in-a-vlan.pcap 'udp dst port 514'
    for i in $(seq 6); do syslog 10.44.20.9 --rfc3164 --tag switch "port $i up"; done
    recorded
    mv "$out/syslog-in-a-vlan.pcap" "$scratch/untagged.pcap"
    tcprewrite --enet-vlan=add --enet-vlan-tag=44 --enet-vlan-cfi=0 --enet-vlan-pri=0 \
        --infile="$scratch/untagged.pcap" --outfile="$out/syslog-in-a-vlan.pcap"

    # A snaplen that is too short: each frame is cut after 96 bytes.
    record syslog-cut-by-snaplen.pcap 'udp dst port 514' --snapshot-length=96
    for i in $(seq 8); do
        syslog 10.44.20.9 --rfc3164 --tag short "$i"
        syslog 10.44.20.9 --rfc3164 --tag long "message $i is longer than the snaplen that somebody chose in order to save space"
    done
    recorded

    # What somebody gets who captures where the packets are made: the card, here veth, was to finish the checksums.
    offload on
    record syslog-with-offloaded-checksums.pcap 'udp dst port 514'
    for i in $(seq 10); do syslog 10.44.20.9 --rfc3164 --tag cron "job $i: $(printf '%*s' $((i * 12)) '' | tr ' ' .)"; done
    recorded
    offload off
}

snmp_traps() {
    local i
    # sysUpTime is given, otherwise it would be the machine's. linkDown and linkUp of RFC 2863, and a coldStart in version 1.
    record snmp-traps.pcap 'udp dst port 162'
    for i in $(seq 10); do
        ip netns exec $edge snmptrap -v 2c -c public 10.44.20.9:162 $((4711 + i)) 1.3.6.1.6.3.1.1.5.3 \
            1.3.6.1.2.1.2.2.1.1.$i i $i 1.3.6.1.2.1.2.2.1.7.$i i 1 1.3.6.1.2.1.2.2.1.8.$i i 2
        ip netns exec $edge snmptrap -v 2c -c public 10.44.20.9:162 $((4799 + i)) 1.3.6.1.6.3.1.1.5.4 \
            1.3.6.1.2.1.2.2.1.1.$i i $i 1.3.6.1.2.1.2.2.1.7.$i i 1 1.3.6.1.2.1.2.2.1.8.$i i 1
    done
    for i in $(seq 4); do
        ip netns exec $edge snmptrap -v 1 -c public 10.44.20.9:162 1.3.6.1.4.1.32473.1 10.44.20.1 0 0 $i
    done
    recorded
}

build
flow_exports
dns
syslogs
snmp_traps
python3 "$here/appflow.py" "$out"
# Without name and time, so that the same capture gives the same bytes.
gzip -9nc "$out/syslog.pcap" >"$out/syslog.pcap.gz"

# What README.md lists.
cd "$out"
for file in *.pcap *.pcapng *.pcap.gz; do
    printf '%s %s frames, %s bytes, sha256 %s\n' "$file" "$(zcat -f "$file" | tcpdump -r - 2>/dev/null | wc -l)" \
        "$(stat -c %s "$file")" "$(sha256sum <"$file" | cut -d ' ' -f 1)"
done
