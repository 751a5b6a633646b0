#!/usr/bin/env bash
# What it costs to link the library: for each set of features the number of
# crates (normal dependencies on this machine's platform, this one included) and
# the time of a clean release build.
#
#   benches/features.sh             crates and build times, as a table
#   benches/features.sh --crates    the crates alone: a few seconds
#
# Ends with 1 if something is pulled in that has no place there.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

mode=${1:-}
sets=(none metrics http kubernetes events discovery cli)

# flags SET: how cargo is asked for it: features of the library, or a package
# that stands on it.
flags() {
  case $1 in
  none) echo -p vmcp-status ;;
  discovery | cli) echo -p "vmcp-status-$1" ;;
  *) echo -p vmcp-status "--features=$1" ;;
  esac
}

# crates SET: the names of the crates that are linked, one line for each version.
crates() {
  local tree
  # shellcheck disable=SC2046 # flags are words
  tree=$(cargo tree --locked $(flags "$1") -e normal --prefix none --format '{p}')
  sed 's/ (\*)$//; s/ (proc-macro)//' <<<"$tree" | sort -u | cut -d' ' -f1
}

# none_of SET CRATE...: fails if the set pulls one of them in.
none_of() {
  local set=$1 all found
  shift
  all=$(crates "$set")
  found=$(grep -xFf <(printf '%s\n' "$@") <<<"$all" || true)
  if [[ -n $found ]]; then
    echo "features.sh: with ${set/none/no} features there must be none of: ${found//$'\n'/ }" >&2
    exit 1
  fi
}

none_of none kube kube-client kube-core k8s-openapi schemars rustls ring aws-lc-rs native-tls openssl \
  hyper reqwest rmcp http axum clap prometheus-client tracing-subscriber
none_of metrics kube rustls ring hyper reqwest axum clap
none_of http kube rustls ring reqwest clap
none_of discovery clap axum aws-lc-rs native-tls openssl
none_of kubernetes clap axum rmcp reqwest aws-lc-rs native-tls openssl
none_of cli aws-lc-rs native-tls openssl
all=$(crates none)
if (($(wc -l <<<"$all") > 55)); then
  echo "features.sh: the library alone pulls in more than 55 crates" >&2
  exit 1
fi
echo "held: without features no kube, no TLS stack, no HTTP and no clap" >&2

if [[ $mode == --crates ]]; then
  for set in "${sets[@]}"; do
    all=$(crates "$set")
    echo "$set: $(wc -l <<<"$all") crates"
  done
  exit
fi

cargo fetch --locked --quiet
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
echo "| features | crates | clean release build | load average before |"
echo "|---|---|---|---|"
for set in "${sets[@]}"; do
  rm -rf "${target:?}"/*
  all=$(crates "$set")
  load=$(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo unknown)
  begin=$(date +%s.%N)
  # shellcheck disable=SC2046 # flags are words
  CARGO_INCREMENTAL=0 cargo build --locked --quiet --release $(flags "$set") --target-dir "$target"
  seconds=$(awk -v begin="$begin" -v end="$(date +%s.%N)" 'BEGIN { printf "%.1f", end - begin }')
  echo "| $set | $(wc -l <<<"$all") | $seconds s | $load |"
done
