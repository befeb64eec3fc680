#!/usr/bin/env bash
# P2: streams of 200 content chunks, each event flushed by the mock, 16 connections; INTERVAL
# (ms, default 0) spreads them. Unit of CPU: one event. The last run verifies every stream.
source "$(dirname "$0")/lib.sh"
SCENARIO="SSE 200 chunks (event)" ALIAS=sse
# Role, 200 chunks, finish, [DONE].
UNITS=203
start_all
one() {
  local body
  body=$(body_file "$1" --stream)
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 16 -z 1s
  oha_run "$1" "$body" -c 16 -z "${RUN_SECONDS}s" -w
}
rounds one
for proxy in $PROXIES; do
  "$LOADTEST" sse --addr "127.0.0.1:${PORT[$proxy]}" -c 16 -n 200 \
    --model "$(model "$ALIAS" "$proxy")" -H "Authorization: Bearer $KEY" >"$TMP/verified" ||
    { echo "$proxy: incomplete streams: $(cat "$TMP/verified")" >&2; exit 1; }
done
show
