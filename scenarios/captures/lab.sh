# The network that the captures are recorded in; record.sh of this folder and of docs/receivers/captures read this file.
# They set `out`, the folder of the captures.
#
#   host ── lan0   the network that softflowd watches: 10.44.30.0/24, fd44:30::/64
#   edge ── up0    the exporter and client of everything else: 10.44.20.1, fd44:20::1
#   collector      where tcpdump listens, on col0: 10.44.20.9, fd44:20::9; DNS server .53
lab=$(dirname "${BASH_SOURCE[0]}")
scratch=$(mktemp -d)
# Two recordings at once have networks of their own.
host=restage-rec-host-$$ edge=restage-rec-edge-$$ collector=restage-rec-collector-$$
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

record() { # file filter [options of tcpdump]…: on $interface, or else col0
    local file=$1 filter=$2; shift 2
    # -Z root: otherwise tcpdump becomes another user, who may not write here.
    start $collector tcpdump -i "${interface-col0}" -n -U --immediate-mode -Z root "$@" -w "$out/$file" "$filter"
    tcpdump_pid=${pids[-1]}
    until_true grep -q 'listening on' "$log"
}

recorded() {
    sleep 0.3
    kill -INT "$tcpdump_pid"
    wait "$tcpdump_pid" || true
    unset 'pids[-1]'
}

# The traffic that exporters make flows and samples of, in $scratch/lan.pcap: 120 UDP and 24 TCP conversations and two pings, IPv4 and IPv6 by halves.
lan_traffic() {
    local i dns lan_tcpdump
    start $edge dnsmasq --no-daemon --conf-file="$lab/../config/dnsmasq.conf"
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
