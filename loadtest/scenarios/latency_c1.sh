#!/usr/bin/env bash
# P0: one connection. What a proxy adds = its p50 and p99 less those of `direct`.
source "$(dirname "$0")/lib.sh"
SCENARIO="latency c=1 (request)" ALIAS=unary
PROXIES="direct $PROXIES"
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 1 -z 1s
  oha_run "$1" "$body" -c 1 -z "${RUN_SECONDS}s" -w
}
rounds one
show
