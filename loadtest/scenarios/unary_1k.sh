#!/usr/bin/env bash
# P1: unary requests of 1 KB, closed loop, 32 connections. Unit of CPU: one request.
source "$(dirname "$0")/lib.sh"
SCENARIO="unary 1 KB (request)" ALIAS=unary
start_all
one() {
  local body
  body=$(body_file "$1")
  [ "$2" != 1 ] || warm_up "$1" "$body" -c 32 -z 1s
  oha_run "$1" "$body" -c 32 -z "${RUN_SECONDS}s" -w
}
rounds one
show
