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
#
#   host ── lan0   the network that softflowd watches: 10.44.30.0/24, fd44:30::/64
#   edge ── up0    the exporter and client of everything else: 10.44.20.1, fd44:20::1
#   collector      where tcpdump listens, on col0: 10.44.20.9, fd44:20::9; DNS server .53
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)
scratch=$(mktemp -d)
host=restage-rec-host edge=restage-rec-edge collector=restage-rec-collector
pids=()
started=0
# Otherwise snmptrap leaves a folder in /var/lib.
export SNMP_PERSISTENT_DIR=$scratch
mkdir "$scratch/cert_indexes"

cleanup() {
    local pid ns
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for ns in $host $edge $collector; do ip netns del $ns 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# logger writes the name of the machine into each message: these have one of their own, and UTC.
at() { local ns=$1; shift; ip netns exec "$ns" unshare --uts sh -c 'hostname edge-1 && exec "$@"' sh "$@"; }

# Waits until a command succeeds, for five seconds at most.
until_true() {
    local i
    for i in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done
    echo "record.sh: waited in vain for: $*" >&2
    return 1
}

link() { # namespace interface MAC IPv4 IPv6
    ip -n "$1" link set "$2" address "$3" up
    ip -n "$1" address add "$4" dev "$2"
    ip -n "$1" address add "$5" dev "$2" nodad
}

build() {
    export TZ=UTC LC_ALL=C
    local ns
    for ns in $host $edge $collector; do
        ip netns add $ns
        ip -n $ns link set lo up
        # No router solicitations, no unsolicited reports: only what the software sends.
        ip netns exec $ns sysctl -qw net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
        # Nobody listens at the collector, and a sender that hears so in an ICMP error drops what it sends next.
        ip netns exec $ns nft -f - <<'RULES'
table inet quiet {
    chain output {
        type filter hook output priority 0
        icmp type destination-unreachable drop
        icmpv6 type destination-unreachable drop
    }
}
RULES
    done
    ip -n $edge link add lan0 type veth peer name lan1 netns $host
    ip -n $edge link add up0 type veth peer name col0 netns $collector
    link $edge lan0 00:16:3e:44:30:01 10.44.30.1/24 fd44:30::1/64
    link $host lan1 00:16:3e:44:30:07 10.44.30.7/24 fd44:30::7/64
    link $edge up0 00:16:3e:44:20:01 10.44.20.1/24 fd44:20::1/64
    link $collector col0 00:16:3e:44:20:09 10.44.20.9/24 fd44:20::9/64
    ip -n $collector address add 10.44.20.53/24 dev col0
    ip -n $collector address add fd44:20::53/64 dev col0 nodad
    offload off
}

# veth leaves checksums unfinished as long as its offload is on, for no wire will ever see them. They are finished here:
# otherwise every replay of these captures would be dropped (UDP_CSUM).
offload() {
    ip netns exec $edge ethtool -K up0 tx "$1" >/dev/null
    ip netns exec $collector ethtool -K col0 tx "$1" >/dev/null
}

start() { # namespace command…: in the background, killed at the end
    local ns=$1; shift
    log=$scratch/log.$((++started)) # its own, so that nobody takes the words of the one before for those of this one
    ip netns exec "$ns" "$@" >"$log" 2>&1 &
    pids+=($!)
}

record() { # file filter [options of tcpdump]…
    local file=$1 filter=$2; shift 2
    # -Z root: otherwise tcpdump becomes another user, who may not write here.
    start $collector tcpdump -i col0 -n -U --immediate-mode -Z root "$@" -w "$out/$file" "$filter"
    tcpdump_pid=${pids[-1]}
    until_true grep -q 'listening on' "$log"
}

recorded() {
    sleep 0.3
    kill -INT "$tcpdump_pid"
    wait "$tcpdump_pid" || true
    unset 'pids[-1]'
}

syslog() { # address options… message: one datagram of util-linux's logger
    local to=$1; shift
    at $edge logger --server "$to" --port 514 --udp "$@"
}

# The traffic of which softflowd makes flows: 120 UDP and 24 TCP conversations and two pings, IPv4 and IPv6 by halves.
lan_traffic() {
    local i dns lan_tcpdump
    start $edge dnsmasq --no-daemon --conf-file="$here/../config/dnsmasq.conf"
    dns=${pids[-1]}
    until_true ip netns exec $host dig +time=1 +tries=1 @10.44.30.1 www.lab.example
    for i in $(seq 60); do
        echo "@10.44.30.1 www.lab.example A"
        echo "@fd44:30::1 collector.lab.example AAAA"
    done >"$scratch/udp"
    for i in $(seq 12); do
        echo "@10.44.30.1 lab.example MX"
        echo "@fd44:30::1 lab.example TXT"
    done >"$scratch/tcp"
    # Neighbour discovery and reports of group members would come and go by chance.
    start $edge tcpdump -i lan0 -n -U --immediate-mode -Z root -w "$scratch/lan.pcap" \
        'port 53 or icmp[icmptype] = icmp-echo or icmp[icmptype] = icmp-echoreply or ip6[40] = 128 or ip6[40] = 129'
    lan_tcpdump=${pids[-1]}
    until_true grep -q 'listening on' "$log"
    ip netns exec $host dig -f "$scratch/udp" >/dev/null
    ip netns exec $host dig +tcp -f "$scratch/tcp" >/dev/null
    ip netns exec $host ping -q -c 3 -i 0.2 10.44.30.1 >/dev/null
    ip netns exec $host ping -q -c 3 -i 0.2 fd44:30::1 >/dev/null
    sleep 0.3
    kill "$lan_tcpdump" "$dns"
    wait "$lan_tcpdump" "$dns" || true
    unset 'pids[-1]' 'pids[-1]'
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
