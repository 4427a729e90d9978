#!/usr/bin/env bash
# Records the captures of this folder from real software, in the network of scenarios/captures/lab.sh.
#
#   sudo docs/receivers/captures/record-flows-and-metrics.sh [NAME…]      (default: all of them; a NAME is that of a function below)
#
# Needs root, the Debian packages that scenarios/captures/record.sh needs, and pmacct, collectd-core and socat.
# Each recording differs in times and ports; the numbers of frames and of what is in them should be the same.
set -euo pipefail

out=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$out/../../../scenarios/captures/lab.sh"

# pmacctd samples every packet of a capture, as a switch samples those that pass it.
sflow() {
    lan_traffic
    cat >"$scratch/pmacctd.conf" <<CONF
pcap_savefile: $scratch/lan.pcap
plugins: sfprobe
aggregate: src_host, dst_host
sfprobe_receiver: 10.44.20.9:6343
sfprobe_agentip: 10.44.20.1
sfprobe_ifspeed: 1000000000
sampling_rate: 1
CONF
    record sflow.pcap 'udp dst port 6343'
    timeout 5 ip netns exec $edge pmacctd -f "$scratch/pmacctd.conf" >/dev/null 2>&1 || true
    recorded
}

# Some intervals of one host's load, memory, uptime and interfaces.
collectd_client() { # lines of its configuration
    cat >"$scratch/collectd.conf" <<CONF
Hostname "edge-1"
Interval 1
PIDFile "$scratch/collectd.pid"
BaseDir "$scratch"
LoadPlugin interface
LoadPlugin load
LoadPlugin memory
LoadPlugin uptime
$1
CONF
    timeout 8.5 ip netns exec $edge collectd -f -C "$scratch/collectd.conf" >/dev/null 2>&1 || true
}

collectd() {
    record collectd.pcap 'udp dst port 25826'
    collectd_client 'LoadPlugin network
<Plugin network>
    Server "10.44.20.9" "25826"
</Plugin>'
    recorded
}

carbon() {
    record carbon.pcap 'udp dst port 2003'
    collectd_client 'LoadPlugin write_graphite
<Plugin write_graphite>
    <Node "carbon">
        Host "10.44.20.9"
        Port "2003"
        Protocol "udp"
        Prefix "collectd."
    </Node>
</Plugin>'
    recorded
}

# What applications send: a counter, a sampled counter, a gauge, two timers in one datagram, and a set.
statsd() {
    local i metric
    record statsd.pcap 'udp dst port 8125'
    for i in {1..10}; do
        for metric in shop.orders:1\|c shop.views:1\|c\|@0.1 shop.carts:$((20 + i))\|g \
            "shop.checkout:$((100 + i))|ms"$'\n'"shop.payment:$((30 + i))|ms" "shop.users:user$((i % 4))|s"; do
            ip netns exec $edge socat -u - UDP-SENDTO:10.44.20.9:8125 <<<"$metric"
        done
    done
    recorded
}

build
[[ $# -gt 0 ]] || set -- sflow collectd carbon statsd
for name; do "$name"; done
