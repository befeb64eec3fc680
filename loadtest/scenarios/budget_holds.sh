#!/usr/bin/env bash
# P9: unary requests of 1 KB, closed loop, 32 connections, each held durably against a hard budget:
# synchronous=normal and =full beside the gateway without budgets. Unit of CPU: one request.
PROXIES=${PROXIES:-pingora weir weir_normal weir_full}
source "$(dirname "$0")/lib.sh"
SCENARIO="budget, 32 at once (request)" ALIAS=unary
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 32 -z 1s
  oha_run "$1" "$body" -c 32 -z "${RUN_SECONDS}s" -w
}
rounds one
show
