#!/usr/bin/env bash
# Measures the hub and, beside it, mosquitto with TLS and the storage engine alone: server on core 0, generator on core
# 1. Prints a line of JSON for each measurement to standard error as it goes, then a table of medians. docs/performance.md
# explains them. Needs two cores, taskset, openssl, and for the comparison mosquitto.
#
# Environment: RUN and WARM, the time of a measurement and before it; ROUNDS, how often the comparisons are repeated;
# QUICK=1 for a short look; RAW=FILE keeps the lines of JSON.
set -euo pipefail
cd "$(dirname "$0")/../.."

run=${RUN:-10s} warm=${WARM:-3s} rounds=${ROUNDS:-3} idle=15000 stored=1000000
if [ -n "${QUICK:-}" ]; then run=4s warm=2s rounds=1 idle=3000 stored=100000; fi
work=$(mktemp -d)
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
ulimit -n "$(ulimit -Hn)"

go build -o "$work/" ./cmd/twinhub ./test/load
raw=${RAW:-$work/raw.tsv}
: >"$raw"
note() { # name, then a command that prints a line of JSON
	local name=$1
	shift
	printf '%s\t%s\n' "$name" "$("$@")" | tee -a "$raw" >&2
}
load() { # name, then the arguments of load
	local name=$1
	shift
	note "$name" taskset -c 1 env GOMAXPROCS=1 "$work/load" "$@"
}

start_hub() { # data folder
	taskset -c 0 "$work/twinhub" serve --data "$1" --https-port 0 --mqtts-port 0 --amqps-port 0 --amqp-port 0 --ops-port 0 \
		--route twinChangeEvents --route digitalTwinChangeEvents --log-level error >"$work/hub.out" 2>"$work/hub.err" &
	hub=$!
	pids+=("$hub")
	for _ in $(seq 200); do
		if grep -q 'is ready' "$work/hub.out"; then return; fi
		sleep 0.05
	done
	cat "$work/hub.err" >&2
	exit 1
}
stop() {
	kill "$1"
	wait "$1" || true
}

begin=$(date +%s%N)
start_hub "$work/empty"
note "start" printf '{"millisToReady":%d,"rssMiB":%d}' $((($(date +%s%N) - begin) / 1000000)) $(($(awk '/VmRSS/{print $2}' "/proc/$hub/status") / 1024))
stop "$hub"

if command -v mosquitto >/dev/null; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
		-keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
	chmod 644 "$work/key.pem"
	chmod 755 "$work"
	cat >"$work/mosquitto.conf" <<CONF
listener 28883 127.0.0.1
certfile $work/cert.pem
keyfile $work/key.pem
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
log_type error
CONF
	taskset -c 0 mosquitto -c "$work/mosquitto.conf" &
	broker=$!
	pids+=("$broker")
	sleep 1
else
	echo "mosquitto is not installed: no comparison" >&2
fi

# The comparisons, one after the other in each round. The hub and the engine begin with an empty folder each time.
for round in $(seq "$rounds"); do
	for setting in "window 16" "window 1" "rate 10000"; do
		d2c=(d2c -devices 1000 "-${setting% *}" "${setting#* }" -warm "$warm" -run "$run")
		start_hub "$work/d2c"
		load "telemetry, $setting" "${d2c[@]}" -env "$work/d2c/connection.env" -pid "$hub"
		stop "$hub"
		if [ -n "${broker:-}" ]; then
			load "telemetry, $setting, mosquitto" "${d2c[@]}" -broker 127.0.0.1:28883 -ca "$work/cert.pem" -pid "$broker"
		fi
		if [ "$setting" != "rate 10000" ]; then
			# As many threads as the hub has.
			note "telemetry, $setting, engine alone" taskset -c 0 env GOMAXPROCS=2 "$work/load" engine -dir "$work/engine" -devices 1000 \
				"-${setting% *}" "${setting#* }" -warm "$warm" -run "$run"
		fi
		rm -rf "$work/d2c" "$work/engine"
	done
done

start_hub "$work/data"
env=$work/data/connection.env
load "direct method, 1 caller" method -env "$env" -pid "$hub" -devices 1 -callers 1 -warm 1s -run "$run"
load "direct method, 100 callers" method -env "$env" -pid "$hub" -devices 100 -callers 100 -warm 1s -run "$run"
load "reported PATCH, 100 devices" reported -env "$env" -pid "$hub" -devices 100 -callers 100 -warm 1s -run "$run"
load "desired PATCH, 100 devices" desired -env "$env" -pid "$hub" -devices 100 -callers 100 -warm 1s -run "$run"
load "filling" d2c -env "$env" -pid "$hub" -devices 1000 -window 64 -warm 1s -run 20s
sleep 10 # while the engine puts in order what came so fast
load "events out" events -env "$env" -pid "$hub" -count "$stored"
stop "$hub"

start_hub "$work/idle"
load "idle" idle -env "$work/idle/connection.env" -pid "$hub" -devices "$idle"
stop "$hub"

"$work/load" table <"$raw"
