#!/usr/bin/env bash
# P3: requests with a body of 1 MB, closed loop, 8 connections. Unit of CPU: one request.
source "$(dirname "$0")/lib.sh"
SCENARIO="body 1 MB (request)" ALIAS=unary
start_all
one() {
  local body
  body=$(body_file "$1" --bytes 1000000)
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 8 -n 100
  oha_run "$1" "$body" -c 8 -z "${RUN_SECONDS}s" -w
}
rounds one
show
