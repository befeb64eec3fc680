# Common parts of the scenarios: starts mock and proxies, runs rounds, ends what it started.
#
# Sourced, not run. A scenario sets SCENARIO, UNITS (CPU units per request), STATUS (of a good answer) and ALIAS
# (which request), then calls `start_all` and `rounds <function>`; the function gets a proxy's name.
#
# Environment: ROUNDS (3), RUN_SECONDS (2), PROXIES ("pingora weir nginx", whichever exist),
# WEIR, LOADTEST, PASSTHROUGH, NGINX, OHA (programs), OUT (file that gets the measured lines),
# WEIR_EXTRA (file with YAML appended to the generated configuration).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
BUILT=${CARGO_TARGET_DIR:-$ROOT/target}/release
LOADTEST=${LOADTEST:-$BUILT/loadtest}
PASSTHROUGH=${PASSTHROUGH:-$BUILT/passthrough}
WEIR=${WEIR:-$BUILT/weir}
NGINX=${NGINX:-$(command -v nginx || true)}
OHA=${OHA:-$(command -v oha || echo "$HOME/.cargo/bin/oha")}
ROUNDS=${ROUNDS:-3}
RUN_SECONDS=${RUN_SECONDS:-2}
INTERVAL=${INTERVAL:-0}
STREAM_SECONDS=${STREAM_SECONDS:-10}
UNITS=1
STATUS=200
KEY=loadtest-agent-key-0123456789abcdef

TMP=$(mktemp -d)
OWN_OUT=
if [ -z "${OUT:-}" ]; then
  OUT=$TMP/results.jsonl
  OWN_OUT=1
fi

# Pids of what we started; nothing else is ever ended.
STARTED=()
declare -A PID PORT ADMIN_PORT

stop_all() {
  local pid
  for pid in "${STARTED[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${STARTED[@]}"; do
    # A proxy may hold on to open streams; it is ours, so it may be made to go.
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  STARTED=()
}

finish() {
  local status=$?
  stop_all
  rm -rf "$TMP"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)" || true

# Proxy on core 0; load tool and mock on core 1.
ON_PROXY=() ON_LOAD=()
if command -v taskset >/dev/null && [ "$(nproc)" -ge 2 ]; then
  ON_PROXY=(taskset -c 0) ON_LOAD=(taskset -c 1)
fi

need() {
  [ -x "$1" ] || { echo "missing: $1 ($2)" >&2; exit 1; }
}
need "$LOADTEST" "cargo build --release -p loadtest"
need "$PASSTHROUGH" "cargo build --release -p loadtest --features passthrough"
need "$OHA" "cargo install oha --locked"

default_proxies() {
  echo -n pingora
  if [ -x "$WEIR" ]; then echo -n " weir"; fi
  if [ -n "$NGINX" ]; then echo -n " nginx"; fi
}
PROXIES=${PROXIES:-$(default_proxies)}

# The model asked for: Weir gets a name that it rewrites to what the others get at once.
model() { # alias proxy
  if [[ $2 == weir* ]]; then echo "mock-$1"; else upstream_model "$1"; fi
}

upstream_model() { # alias
  case $1 in
    unary | spare) echo "mock-bytes=700" ;;
    sse) echo "mock-chunks=200-interval=$INTERVAL" ;;
    idle) echo "mock-chunks=$((STREAM_SECONDS * 2))-interval=500" ;;
    # Bare proxies cannot fall back: they are measured with the answer that Weir ends up with.
    storm) echo "mock-bytes=700" ;;
  esac
}

wait_up() { # port name
  for _ in $(seq 200); do
    if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.05
  done
  echo "$2 does not listen on $1; its log:" >&2
  tail -n 20 "$TMP/$2.log" >&2
  exit 1
}

launch() { # name cores... -- command...
  local name=$1
  shift
  "$@" >"$TMP/$name.log" 2>&1 &
  PID[$name]=$!
  STARTED+=("$!")
  wait_up "${PORT[$name]}" "$name"
}

start_all() {
  local ports
  mapfile -t ports < <("$LOADTEST" free-ports 10)
  PORT=([mock]=${ports[0]} [pingora]=${ports[1]} [weir]=${ports[2]} [nginx]=${ports[3]}
    [weir_normal]=${ports[4]} [weir_full]=${ports[5]})
  ADMIN_PORT=([weir]=${ports[6]} [weir_normal]=${ports[7]} [weir_full]=${ports[8]})
  PORT[direct]=${PORT[mock]}
  launch mock "${ON_LOAD[@]}" "$LOADTEST" mock --listen "127.0.0.1:${PORT[mock]}"
  local proxy
  for proxy in $PROXIES; do start_"$proxy"; done
}

start_direct() { :; }

start_pingora() {
  launch pingora "${ON_PROXY[@]}" "$PASSTHROUGH" --threads 1 \
    --listen "127.0.0.1:${PORT[pingora]}" --upstream "127.0.0.1:${PORT[mock]}"
}

start_weir() { start_gateway weir normal "mode: auto"; }

# The same with a hard budget that every request is held against, and how durable a hold is.
start_weir_normal() { start_gateway weir_normal normal "$BUDGET"; }
start_weir_full() { start_gateway weir_full full "$BUDGET"; }
BUDGET=${BUDGET:-budget: {limit_usd: 1000000, hard_cap: true\}}

start_gateway() { # name synchronous agent
  local folder=$TMP/$1
  mkdir -p "$folder"
  weir_config "$1" "$2" "$3" >"$folder/weir.yaml"
  [ -z "${WEIR_EXTRA:-}" ] || cat "$WEIR_EXTRA" >>"$folder/weir.yaml"
  # From the temporary folder, so that no .env and no store of the tree is touched.
  launch "$1" "${ON_PROXY[@]}" env -C "$folder" WEIR_LOG=error "$WEIR" serve -c "$folder/weir.yaml"
}

# Everything on: agent key, model rewrite, fallback armed, metering, access log.
weir_config() { # name synchronous agent
  cat <<YAML
server:
  listen: ["127.0.0.1:${PORT[$1]}"]
  admin: "127.0.0.1:${ADMIN_PORT[$1]}"
  threads: 1
  upgrade_sock: "$TMP/$1/up.sock"
store: "sqlite:weir.db?synchronous=$2"
log: {access: /dev/null}
auth:
  admin_keys: ["loadtest-admin-key-0123456789abcdef"]
  agent_keys: ["$KEY"]
  require_agent_key: true
providers:
  mock: {dialect: openai, base_url: "http://127.0.0.1:${PORT[mock]}/v1", api_key: "mock-provider-key"}
models:
$(weir_model unary "$(upstream_model unary)")
$(weir_model spare "$(upstream_model spare)")
$(weir_model sse "$(upstream_model sse)")
$(weir_model idle "$(upstream_model idle)")
$(weir_model storm mock-503)
routing:
  cooldown_ms: 0
  fallbacks:
    mock-unary: [mock-spare]
    mock-sse: [mock-spare]
    mock-idle: [mock-spare]
    mock-storm: [mock-spare]
agents:
  default: {$3}
YAML
}

weir_model() { # alias upstream
  echo "  - {id: mock-$1, provider: mock, upstream_id: \"$2\", price: {input: 0.10, output: 0.20}, context_tokens: 2000000, output_tokens_max: 4000}"
}

start_nginx() {
  nginx_config >"$TMP/nginx.conf"
  launch nginx "${ON_PROXY[@]}" "$NGINX" -p "$TMP" -c "$TMP/nginx.conf" -e "$TMP/nginx.error" \
    -g "daemon off;"
}

nginx_config() {
  [ "$(id -u)" != 0 ] || echo "user root;"
  cat <<CONF
worker_processes 1;
worker_rlimit_nofile 65536;
pid $TMP/nginx.pid;
events { worker_connections 20000; }
http {
  access_log off;
  client_body_temp_path $TMP/body; proxy_temp_path $TMP/proxy; fastcgi_temp_path $TMP/fastcgi;
  uwsgi_temp_path $TMP/uwsgi; scgi_temp_path $TMP/scgi;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  upstream mock { server 127.0.0.1:${PORT[mock]}; keepalive 4096; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${PORT[nginx]} backlog=4096;
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 300s;
    }
  }
}
CONF
}

# Runs one load command against a proxy and keeps its line.
measure() { # proxy command...
  local proxy=$1 pid=()
  shift
  [ "$proxy" = direct ] || pid=(--pid "${PID[$proxy]}")
  "$LOADTEST" measure --scenario "$SCENARIO" --proxy "$proxy" --units "$UNITS" --status "$STATUS" \
    "${pid[@]}" -- \
    "${ON_LOAD[@]}" "$@" | tee -a "$OUT"
}

# The body a proxy gets for ALIAS, made once.
body_file() { # proxy extra...
  local proxy=$1 file=$TMP/$ALIAS.$1.json
  shift
  [ -s "$file" ] || "$LOADTEST" make-body --model "$(model "$ALIAS" "$proxy")" "$@" >"$file"
  echo "$file"
}

# One closed or rated oha run; extra arguments go to oha.
oha_run() { # proxy body-file oha-arguments...
  local proxy=$1 body=$2
  shift 2
  measure "$proxy" "${OHA_COMMAND[@]}" -D "$body" "$@" "$(url "$proxy")"
}
OHA_COMMAND=("$OHA" --no-tui --output-format json --worker-threads 1 --disable-compression
  -m POST -T application/json -H "Authorization: Bearer $KEY")

# The same without keeping its figures.
warm_up() { # proxy body-file oha-arguments...
  local proxy=$1 body=$2
  shift 2
  "${ON_LOAD[@]}" "${OHA_COMMAND[@]}" -D "$body" "$@" "$(url "$proxy")" >/dev/null
}

url() { echo "http://127.0.0.1:${PORT[$1]}/v1/chat/completions"; }

# A B A B: every round goes over all proxies, so that a drift of the machine hits all alike.
rounds() { # function
  local round proxy
  for round in $(seq "$ROUNDS"); do
    for proxy in $PROXIES; do "$1" "$proxy" "$round"; done
  done
}

# At the end of a scenario run by itself.
show() {
  if [ -n "$OWN_OUT" ]; then "$LOADTEST" table "$OUT"; fi
}
