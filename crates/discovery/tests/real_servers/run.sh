#!/usr/bin/env bash
# Checks MCP servers that nobody here wrote, ten times each, with the program:
# each is ready in its own revision, keeps no session, logs no error, and still
# serves a genuine client. Usage: run.sh PROGRAM [NAME...], NAME such as
# mcp-1.9.0:stateless; all by default. Needs python3; installs the rest by name.
set -euo pipefail
program=$(realpath "$1")
shift
here=$(cd "$(dirname "$0")" && pwd)
cache=${VMCP_STATUS_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp-status-tests}/mcp-servers
client=mcp-1.30.0
declare -A revisions=(
  [mcp-1.8.1:stateful]=2025-03-26 [mcp-1.9.0:stateless]=2025-03-26 [mcp-1.9.4:json]=2025-03-26
  [mcp-1.10.0:stateless]=2025-06-18 [mcp-1.12.4:stateful]=2025-06-18 [mcp-1.12.4:sse]=2025-06-18
  [mcp-1.30.0:stateful]=2025-11-25 [mcp-1.30.0:sse]=2025-11-25
  [mcp-2.3.0:stateless]=2026-07-28 [fastmcp-4.2.3:stateful]=2026-07-28
)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

install() {
  local home=$cache/$1 try more=()
  [ ! -e "$home/.complete" ] || return 0
  # They use what newer releases of pydantic have no longer.
  case $1 in mcp-1.8.* | mcp-1.9.* | mcp-1.1[0-2].*) more=('pydantic<2.12') ;; esac
  for try in 1 2 3; do
    python3 -m venv "$home" && "$home/bin/pip" install -q --disable-pip-version-check "${1/-/==}" uvicorn "${more[@]}" &&
      touch "$home/.complete" && return
    sleep $((try * 10))
  done
  echo "$1 cannot be installed: is PyPI reachable?" >&2
  return 1
}

check() {
  local name=$1 package=${1%:*} mode=${1#*:} port log=$work/log path=mcp try
  install "$package"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  [ "$mode" != sse ] || path=sse
  "$cache/$package/bin/python" "$here/server.py" "$port" "$mode" >"$log" 2>&1 &
  server=$!
  for try in $(seq 150); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.1
  done
  printf 'backends:\n- {name: real, url: "http://127.0.0.1:%s/%s"}\n' "$port" "$path" >"$work/vmcp.yaml"
  for try in $(seq 10); do
    "$program" --state-dir "$work" run -c "$work/vmcp.yaml" --once >"$work/shown" 2>&1 || true
    # What is shown has no revision; what is stored has.
    { grep -q "^real  *ready" "$work/shown" && grep -rq --include='*.json' "${revisions[$name]}" "$work"; } || {
      echo "$name, check $try:"
      cat "$work/shown" "$work"/*.json "$log"
      return 1
    } >&2
  done
  # Opened and ended are counted where the server logs sessions.
  local posted ended
  ended=$(grep -c 'Terminating session: [0-9a-f]' "$log" || true)
  posted=$(grep -c 'Created new transport with session ID' "$log" || true)
  if grep -E 'ERROR|Traceback|" 5[0-9][0-9]' "$log" >&2 || { [ "$ended" != "$posted" ] && [ "$mode" = stateful ]; }; then
    echo "$name: errors in its log, or $posted sessions opened and $ended ended" >&2
    return 1
  fi
  "$cache/$client/bin/python" "$here/client.py" "http://127.0.0.1:$port/$path" >"$work/client" 2>&1 || {
    echo "$name: its client fails after the checks" >&2
    tail -5 "$work/client" >&2
    return 1
  }
  kill "$server"
  wait "$server" 2>/dev/null || true
  server=
  echo "$name: ready, ${revisions[$name]}"
}

install "$client"
[ $# -gt 0 ] || set -- "${!revisions[@]}"
for name; do check "$name"; done
