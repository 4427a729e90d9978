#!/bin/sh
# What one scenario of the bench does, by hand: a network namespace with a receiver's interface, addresses and MAC rewritten, frames replayed while
# they are captured, and counted. usage: unshare --net by-hand.sh CAPTURE FRAMES FOLDER
set -eu
capture=$1 frames=$2 work=$3
mkdir -p "$work"

unshare --net sleep 60 &
receiver=$!
trap 'kill $receiver' EXIT
# Until it has a namespace of its own.
while [ "$(readlink /proc/$receiver/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.001; done
inside="nsenter --net=/proc/$receiver/ns/net"

ip link add tx0 type veth peer name rx0 address 02:00:00:00:00:99 netns $receiver
ip link set tx0 up
$inside ip address add 192.0.2.20/24 dev rx0
$inside ip link set rx0 up

tcprewrite --dstipmap=0.0.0.0/0:192.0.2.20/32 --enet-dmac=02:00:00:00:00:99 --infile="$capture" --outfile="$work/rewritten.pcap"
$inside tcpdump -Z root -i rx0 -U -w "$work/arrived.pcap" udp 2>"$work/tcpdump.log" &
tcpdump=$!
until grep -q 'listening on' "$work/tcpdump.log"; do sleep 0.001; done
tcpreplay --quiet --topspeed --intf1=tx0 "$work/rewritten.pcap" >"$work/tcpreplay.log" 2>&1
arrived=0
for _ in $(seq 100); do
    arrived=$(tcpdump -nr "$work/arrived.pcap" 2>/dev/null | wc -l)
    [ "$arrived" -lt "$frames" ] || break
    sleep 0.01
done
kill $tcpdump
wait $tcpdump
if [ "$arrived" -ne "$frames" ]; then
    echo "$arrived of $frames frames arrived" >&2
    exit 1
fi
