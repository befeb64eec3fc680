#!/usr/bin/env bash
# CPU per event of a stream and per request with the guards off, observing, and redacting: the same two
# scenarios three times, Weir alone. Each prints its own table.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
extra=$(mktemp)
trap 'rm -f "$extra"' EXIT
for guard in "guard: {input: 'off'}" "guard: {input: {}, output: {}}" \
  "guard: {input: {}, output: {secrets: redact, cards: redact, ssn: redact}, canary: block, canary_secret: a-secret-of-the-loadtest}"; do
  echo "$guard" >"$extra"
  echo "== $guard" >&2
  for scenario in unary_1k sse_200; do
    PROXIES=weir WEIR_EXTRA=$extra "$here/$scenario.sh"
  done
done
