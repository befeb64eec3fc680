#!/usr/bin/env bash
# P10: the same with one connection: what the durable hold adds to the time of a request.
PROXIES=${PROXIES:-pingora weir weir_normal weir_full}
source "$(dirname "$0")/lib.sh"
SCENARIO="budget, one by one (request)" ALIAS=unary
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 1 -z 1s
  oha_run "$1" "$body" -c 1 -z "${RUN_SECONDS}s" -w
}
rounds one
show
