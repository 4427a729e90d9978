#!/usr/bin/env bash
# Records the captures of this folder: real clients ask the servers of ../config, in network namespaces of their own.
#
#   sudo docs/receivers/captures/record.sh [FOLDER]      (default: the folder of this script)
#
# Needs root, what `.ci/install applications` installs, and these Debian packages: iproute2 ethtool tcpdump freeradius-utils snmp
# sip-tester udhcpc. A recording differs from the last one in times, ports and identifiers, not in the numbers that the recipes count on.
#
#   edge ── up0     the clients: 10.44.20.1
#   server ── eth0  the servers, and tcpdump: 10.44.20.9, .53
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=$here/../config
out=$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)
scratch=$(mktemp -d)
edge=restage-$$-clients server=restage-$$-servers
pids=()
export TZ=UTC LC_ALL=C SNMP_PERSISTENT_DIR=$scratch/snmp MIBS=
mkdir -p "$scratch/snmp/cert_indexes" "$scratch/run"

cleanup() {
    local pid ns
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for ns in $edge $server; do ip netns del $ns 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Waits until a command succeeds, for ten seconds at most.
until_true() {
    local i
    for i in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done
    echo "record.sh: waited in vain for: $*" >&2
    return 1
}

build() {
    local ns
    for ns in $edge $server; do
        ip netns add $ns
        ip -n $ns link set lo up
        ip netns exec $ns sysctl -qw net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
    done
    ip -n $edge link add up0 type veth peer name eth0 netns $server
    ip -n $edge link set up0 address 00:16:3e:44:20:01 up
    ip -n $server link set eth0 address 00:16:3e:44:20:09 up
    ip -n $edge address add 10.44.20.1/24 dev up0
    ip -n $server address add 10.44.20.9/24 dev eth0
    ip -n $server address add 10.44.20.53/24 dev eth0
    # veth leaves checksums unfinished as long as its offload is on.
    ip netns exec $edge ethtool -K up0 tx off >/dev/null
    ip netns exec $server ethtool -K eth0 tx off >/dev/null
}

start() { # name command…: a server, until the end; its output in $scratch/NAME
    local name=$1; shift
    ip netns exec $server env -C "$scratch" "$@" >"$scratch/$name" 2>&1 &
    pids+=($!)
}

record() { # file filter
    ip netns exec $server tcpdump -i eth0 -n -U --immediate-mode -Z root -w "$out/$1" "$2" 2>"$scratch/tcpdump" &
    tcpdump_pid=$!
    until_true grep -q 'listening on' "$scratch/tcpdump"
}

recorded() {
    sleep 0.5
    kill -INT "$tcpdump_pid"
    wait "$tcpdump_pid" || true
}

# Ten sessions: each user logs in, the access server accounts for the start and the end of the session. Then two wrong passwords.
radius() {
    local i user password port
    cp -r "$config/freeradius" "$scratch/raddb"
    sed -i "s,/etc/freeradius/3.0,$scratch/raddb,; s,/run/freeradius,$scratch/run,; s,/var/log/freeradius,$scratch/run,; s,\(user\|group\) = freerad,,
        " "$scratch/raddb/radiusd.conf"
    start radius freeradius -f -l stdout -d "$scratch/raddb"
    until_true grep -q 'Ready to process requests' "$scratch/radius"
    ask() { ip netns exec $edge radclient -r 1 -t 5 -q "10.44.20.9:$1" "$2" correct-horse-battery >/dev/null || true; }
    record radius.pcap 'udp port 1812 or udp port 1813'
    for i in $(seq 10); do
        if ((i % 2)); then user=alice password=wonderland; else user=bob password=builder; fi
        port="NAS-IP-Address = 10.44.20.1, NAS-Port = $i"
        ask 1812 auth <<<"User-Name = $user, User-Password = $password, $port, Message-Authenticator = 0x00"
        ask 1813 acct <<<"User-Name = $user, $port, Acct-Status-Type = Start, Acct-Session-Id = \"session-$i\""
        ask 1813 acct <<<"User-Name = $user, $port, Acct-Status-Type = Stop, Acct-Session-Id = \"session-$i\", Acct-Session-Time = $((60 * i)), Acct-Input-Octets = $((1000 * i))"
    done
    for user in alice mallory; do
        ask 1812 auth <<<"User-Name = $user, User-Password = guess, NAS-IP-Address = 10.44.20.1, NAS-Port = 99, Message-Authenticator = 0x00"
    done
    recorded
}

# Traps of version 3, encrypted; informs of version 3, each after the two questions for the engine of the server; informs of version 2c.
snmp() {
    local i down=1.3.6.1.6.3.1.1.5.3 index=1.3.6.1.2.1.2.2.1.1
    start snmptrapd snmptrapd -f -C -c "$config/snmptrapd.conf" -n -m '' -On -Lo udp:162
    until_true grep -q 'NET-SNMP version' "$scratch/snmptrapd"
    record snmp-v3.pcap 'udp port 162'
    for i in $(seq 10); do
        ip netns exec $edge snmptrap -v 3 -e 0x80007f8804656467652d31 -u traps -l authPriv -a SHA-256 -A trap-auth-password \
            -x AES -X trap-priv-password 10.44.20.9:162 $((4711 + i)) $down $index.$i i "$i"
    done
    for i in $(seq 5); do
        ip netns exec $edge snmpinform -v 3 -u informs -l authPriv -a SHA-256 -A inform-auth-password \
            -x AES -X inform-priv-password 10.44.20.9:162 $((5711 + i)) $down $index.$i i "$i"
        ip netns exec $edge snmpinform -v 2c -c nms-community 10.44.20.9:162 $((6711 + i)) $down $index.$i i "$i"
    done
    recorded
}

# Telephones register, ask whether the server is alive, and call somebody who isn't there.
sip() {
    sed "s,/run/kamailio,$scratch/run," "$config/kamailio.cfg" >"$scratch/kamailio.cfg"
    start sip kamailio -DD -E -Y "$scratch/run" -f "$scratch/kamailio.cfg"
    until_true test -S "$scratch/run/kamailio_ctl"
    sleep 1
    record sip.pcap 'udp port 5060'
    (cd "$scratch" && ip netns exec $edge sipp -sf "$here/phone.xml" -i 10.44.20.1 -p 5070 -m 10 -r 20 -nostdin 10.44.20.53:5060 >/dev/null)
    recorded
}

# Ten hosts without an address get one.
dhcp() {
    local i
    # kea answers once for each address of its interface.
    ip -n $server address del 10.44.20.53/24 dev eth0
    sed "s,/var/lib/kea/,$scratch/run/," "$config/kea-dhcp4.conf" >"$scratch/kea-dhcp4.conf"
    start dhcp env KEA_PIDFILE_DIR="$scratch" KEA_LOCKFILE_DIR="$scratch" kea-dhcp4 -c "$scratch/kea-dhcp4.conf"
    until_true grep -q DHCP4_STARTED "$scratch/dhcp"
    record dhcp.pcap 'udp port 67 or udp port 68'
    ip -n $edge address flush dev up0
    for i in $(seq 10 19); do
        ip -n $edge link set up0 address "00:16:3e:44:20:$i"
        ip netns exec $edge udhcpc -f -q -n -i up0 -s /bin/true -x "hostname:host-$i" 2>/dev/null
    done
    recorded
}

build
radius
snmp
sip
dhcp
cd "$out"
for file in *.pcap; do
    printf '%s %s frames, %s bytes, sha256 %s\n' "$file" "$(tcpdump -r "$file" 2>/dev/null | wc -l)" \
        "$(stat -c %s "$file")" "$(sha256sum <"$file" | cut -d ' ' -f 1)"
done
