#!/usr/bin/env bash
# Installs what the client checks need, all below this folder: a Python environment with the newest
# clients and LangChain, the generation before in .venv/old, a Node.js of its own, and the npm packages.
# Needs python3 with venv. Does nothing when everything is there already.
set -euo pipefail
cd "$(dirname "$0")"

wanted=$(cat requirements.txt requirements-old.txt package-lock.json | sha256sum)
if [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ] && [ -d node_modules ]; then
  exit 0
fi
rm -rf .venv node_modules
python3 -m venv .venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir)
"${pip[@]}" --target .venv/old -r requirements-old.txt
"${pip[@]}" -r requirements.txt
PATH="$PWD/.venv/bin:$PATH" npm ci --no-progress --loglevel=error --cache .venv/npm
rm -rf .venv/npm
echo "$wanted" > .venv/installed
