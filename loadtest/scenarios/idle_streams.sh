#!/usr/bin/env bash
# P4: STREAMS (2,000) slow streams at once, two events a second each, for STREAM_SECONDS (10).
# Memory per open stream, CPU per event; every stream is verified. Proxies are started anew for
# each round: memory once taken is not given back, so a second round would read less.
source "$(dirname "$0")/lib.sh"
SCENARIO="idle streams (event)" ALIAS=idle
STREAMS=${STREAMS:-2000}
ROUNDS=${IDLE_ROUNDS:-2}
one() {
  measure "$1" "$LOADTEST" idle-streams --pid "${PID[$1]}" --addr "127.0.0.1:${PORT[$1]}" \
    -c "$STREAMS" --model "$(model "$ALIAS" "$1")" -H "Authorization: Bearer $KEY"
}
all_rounds=$ROUNDS
ROUNDS=1
for _ in $(seq "$all_rounds"); do
  start_all
  rounds one
  stop_all
done
show
