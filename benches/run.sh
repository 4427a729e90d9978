#!/usr/bin/env bash
# Figures of this machine, alternated in one run, since it may be shared and noisy: medians of seconds.
# usage: benches/run.sh PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
program=$PWD/$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Seconds of a command, a line each run.
seconds() {
    local begin end
    begin=$(date +%s%N)
    "$@" >/dev/null 2>&1
    end=$(date +%s%N)
    echo "$(( (end - begin) / 1000 ))"
}
median() { sort -n "$1" | awk '{ line[NR] = $1 } END { printf "%.1f ms", line[int((NR + 1) / 2)] / 1000 }'; }

printf 'format = 1\n[capture]\nfile = "%s/scenarios/captures/appflow.pcapng"\n[pacing]\nrate = "topspeed"\n' "$PWD" >"$work/top.toml"
printf 'format = 1\n[capture]\nfile = "%s/scenarios/captures/appflow.pcapng"\n[rewrite]\nchecksums = "preserve"\n[rewrite.source]\nip = { "10.44.0.0/16" = "192.0.0.0/16" }\n' "$PWD" >"$work/map.toml"

for _ in 1 2 3 4 5 6 7 8 9; do
    seconds "$program" run "$work/top.toml" >>"$work/run"
    seconds "$program" rewrite "$work/map.toml" -o "$work/out.pcapng" >>"$work/rewrite"
    seconds dd if=scenarios/captures/appflow.pcapng of="$work/copy" bs=1M >>"$work/dd"
done
echo "720 datagrams at top speed into the built-in receiver, start to exit: $(median "$work/run")"
echo "rewriting that capture, start to exit: $(median "$work/rewrite"); dd of it: $(median "$work/dd")"
