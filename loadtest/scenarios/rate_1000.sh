#!/usr/bin/env bash
# P5b: a fixed 1,000 requests a second on 16 connections. Unit of CPU: one request. In rounds of RATE_SECONDS (6),
# longer than others: with so few requests a second, two seconds of another guest of the machine are a tenth.
RATE_SECONDS=${RATE_SECONDS:-6}
source "$(dirname "$0")/lib.sh"
SCENARIO="rate 1,000/s (request)" ALIAS=unary
PROXIES="direct $PROXIES"
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 16 -q 1000 -z 1s
  oha_run "$1" "$body" -c 16 -q 1000 --latency-correction -z "${RATE_SECONDS}s" -w
}
rounds one
show
