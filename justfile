# The commands of every day; `just` lists them. CONTRIBUTING.md says more.

# Lists the commands.
default:
    @just --list --unsorted

# Builds everything, tests and benches included.
build:
    cargo build --all-targets

# Runs all tests that need no cluster, and the code in the documentation.
test:
    cargo test

# Runs the tests whose name contains NAME: `just one thousand_changes_in_one_interval`.
one NAME:
    cargo test --tests {{NAME}}

# Runs the tests on a real API server, or those whose name contains NAME. Builds the server first (needs Go).
cluster NAME="":
    #!/usr/bin/env bash
    set -euo pipefail
    assets=$(crates/testkit/cluster/build.sh)
    export $assets
    cargo test --tests -- --ignored {{NAME}}

# Checks real MCP servers, some or those named: `just servers --all`. Installs them first.
servers *NAMES: build
    crates/discovery/tests/real_servers/run.py target/debug/vmcp-status {{NAMES}}

# Checks the formatting and runs clippy as CI does.
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo clippy -p vmcp-status --no-default-features -- -D warnings

# Builds the documentation as docs.rs does, nightly's labels aside.
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features {{ARGS}}

# Shows the whole of it on loopback.
demo:
    cargo run --example demo

# Measures everything: minutes with --quick, else about an hour.
bench *ARGS:
    benches/run.sh {{ARGS}}

# Checks licences, sources and banned crates (needs cargo-deny).
deny:
    cargo deny check bans licenses sources

# Everything that has to hold before a change lands.
ci:
    .ci/run
