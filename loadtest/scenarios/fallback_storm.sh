#!/usr/bin/env bash
# Every request's first candidate answers 503, the second answers: two attempts per request. Bare
# proxies cannot do that: they get the plain request, as the price of one attempt.
source "$(dirname "$0")/lib.sh"
SCENARIO="fallback storm (request)" ALIAS=storm
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 32 -z 1s
  oha_run "$1" "$body" -c 32 -z "${RUN_SECONDS}s" -w
}
rounds one
show
