#!/usr/bin/env bash
# All measurements: budgets, benchmarks, the whole way to a real API server, and
# what it costs to link the library. See README.md beside this file.
#
#   benches/run.sh            about an hour and a half on two cores, most of it builds
#   benches/run.sh --quick    what takes minutes: fewer samples, no build times
#
# Goes on after a budget that is missed, and then ends with 1.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

quick=${1:-}
case $quick in
'' | --quick) ;;
*)
  echo "usage: benches/run.sh [--quick]" >&2
  exit 2
  ;;
esac

missed=()
# run WHAT COMMAND...
run() {
  local what=$1
  shift
  printf '\n== %s\n' "$what"
  "$@" || missed+=("$what")
}

# One set of features for all benches, so that there is one build.
bench() {
  local name=$1
  shift
  run "$name" cargo bench --locked --quiet --no-default-features --features kubernetes --bench "$name" -- "$@"
}

lscpu 2>/dev/null | grep -E '^(Model name|CPU\(s\)):' || true
uptime || true

run "crates" benches/features.sh --crates
if [[ -n $quick ]]; then
  run "counts and memory" cargo test --locked --quiet --test budgets -- --nocapture
else
  run "counts and memory" cargo test --locked --quiet --release --test budgets -- --nocapture
fi
run "requests and bytes" cargo test --locked --quiet --test kubernetes costs -- --nocapture
bench budgets
for name in report state patch file write; do
  bench "$name" ${quick:+--quick}
done
if [[ -f benches/fleet.rs ]]; then
  bench fleet
fi

# The benches name what they lack where the build fails, and are counted as
# missed. A cluster that KUBECONFIG names is enough for the first of them.
if [[ -z ${KUBECONFIG:-} && (-z ${KUBEBUILDER_ASSETS:-} || -z ${TOOLHIVE_ASSETS:-}) ]] &&
  cluster=$(crates/testkit/cluster/build.sh); then
  # shellcheck disable=SC2163,SC2086 # two words of the form NAME=value
  export $cluster
fi
bench e2e ${quick:+--quick}
bench peer ${quick:+--quick}
[[ -n $quick ]] || run "build times" benches/features.sh

echo
if ((${#missed[@]} > 0)); then
  printf 'MISSED or failed: %s\n' "${missed[*]}"
  exit 1
fi
echo "all held"
