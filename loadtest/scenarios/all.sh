#!/usr/bin/env bash
# All scenarios, one table. Takes about four minutes with three proxies; keeps the measured lines
# in OUT if that is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kept=${OUT:-}
OUT=${OUT:-$(mktemp)}
export OUT
trap '[ -n "$kept" ] || rm -f "$OUT"' EXIT
built=${CARGO_TARGET_DIR:-$here/../../target}/release
for scenario in unary_1k rate_1000 latency_c1 sse_200 body_1m idle_streams fallback_storm budget_holds budget_c1 budget_refusals; do
  echo "== $scenario" >&2
  "$here/$scenario.sh" >/dev/null || echo "$scenario failed" >&2
done
echo "$(uname -sr), $(nproc) cores, $(date -u +%F), ${ROUNDS:-3} rounds of ${RUN_SECONDS:-2} s"
"${LOADTEST:-$built/loadtest}" table "$OUT"
