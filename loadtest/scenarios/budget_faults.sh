#!/usr/bin/env bash
# The long fault test of budgets: for SECONDS_LONG (300) seconds twelve agents with hard caps in a tree ask
# through a gateway that is reloaded, handed over and killed under load, at providers that fail in every way;
# after each round the ledger is compared with the providers' own bills. SEED (1) chooses. Measures nothing but
# the time of a restart; exit 1 if anything was amiss, with everything left in the folder that it names.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
built=${CARGO_TARGET_DIR:-$root/target}/release
folder=$(mktemp -d)
echo "$(uname -sr), $(nproc) cores, $(date -u +%F)"
if "${LOADTEST:-$built/loadtest}" faults --weir "${WEIR:-$built/weir}" --folder "$folder" \
  --seed "${SEED:-1}" --seconds "${SECONDS_LONG:-300}"; then
  rm -rf "$folder"
else
  echo "see $folder" >&2
  exit 1
fi
