#!/usr/bin/env bash
# P11: refusals. Every request is answered 402, because its agent has nothing left; 32 connections.
PROXIES=${PROXIES:-weir_full}
BUDGET=${BUDGET:-budget: {limit_usd: 0.000000001, hard_cap: true\}}
source "$(dirname "$0")/lib.sh"
SCENARIO="budget, refused (402)" ALIAS=unary STATUS=402
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 32 -z 1s
  oha_run "$1" "$body" -c 32 -z "${RUN_SECONDS}s" -w
}
rounds one
show
