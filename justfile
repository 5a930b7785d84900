# `just` lists the recipes. Each is one or two commands that also work without just; see
# CONTRIBUTING.md. The model checkers and sanitizers build into target directories of their own,
# so that they do not rebuild each other's dependencies.

host := `rustc -vV | sed -n 's/^host: //p'`

[private]
default:
    @{{ just_executable() }} --list --unsorted

# All tests, as the README says
test *args:
    cargo test --workspace {{ args }}

# Formatting, clippy, patches that still apply, words of the prose, and the dependency tree
lint:
    cargo fmt --all --check
    scripts/faults.sh --check
    scripts/words.sh
    cargo clippy --workspace --all-targets -- -D warnings
    cargo deny check bans licenses sources

# Documentation, as on docs.rs
doc *args:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps {{ args }}

# Every interleaving of small scenarios, up to a number of preemptions
loom preemptions="2" *args:
    RUSTFLAGS="--cfg hotread_loom" LOOM_MAX_PREEMPTIONS={{ preemptions }} CARGO_TARGET_DIR=target/loom \
        cargo test --release --lib -p hotread {{ args }}

# Many random interleavings of larger scenarios
shuttle iterations="20000" *args:
    RUSTFLAGS="--cfg hotread_shuttle" HOTREAD_SHUTTLE_ITERATIONS={{ iterations }} CARGO_TARGET_DIR=target/shuttle \
        cargo test --release --lib -p hotread {{ args }}

# Planted faults, each of which its tests must catch: all, or those of a crate, a name or a tool
faults *only:
    scripts/faults.sh {{ only }}

# ThreadSanitizer (needs a nightly toolchain)
tsan:
    RUSTFLAGS="--cfg hotread_tsan -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
        TSAN_OPTIONS="history_size=7 suppressions=$PWD/tsan.supp" CARGO_TARGET_DIR=target/tsan \
        cargo +nightly test --release --target {{ host }} --test race -p hotread

# AddressSanitizer and LeakSanitizer (needs a nightly toolchain)
asan:
    RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/asan \
        cargo +nightly test --release --target {{ host }} --tests -p hotread -- --skip a_leaked_ --skip a_coroutine_that_is_leaked_ --skip a_payload_ --skip nothing_is_resumed_

# The test vectors of docs/wire.md, in Python (needs the package xxhash)
vectors:
    python3 scripts/wire_vectors.py

# Interoperation: clients in other languages, every route by curl and schemathesis, a page of another origin in Chromium
interop:
    cargo build -p hotread-cli
    scripts/clients.sh target/debug
    scripts/http.sh target/debug
    scripts/browser.sh target/debug

# The command `hotread` for distribution: target/dist/hotread
dist:
    cargo build --profile dist -p hotread-cli --locked

# A private authority with certificates of a server on this machine and of a client, for trying out TLS
certificates folder="target/tls" client="me":
    mkdir -p {{ folder }}
    docs/guide/deploy/hotread-certificates {{ folder }} "$(hostname)" {{ client }}

# The crates as they would be published, each built from its package
package:
    cargo package --workspace --exclude hotread-bench --exclude hotread-faultfs --exclude hotread-testkit

# The commands in the README
readme:
    cargo build --release -p hotread-cli
    scripts/readme.sh target/release

# `kill -9` in a loop
kills n="2000":
    HOTREAD_KILLS={{ n }} cargo test --release -p hotread-store --test store kill::

# Loss of power, and a failing disk, at each operation instead of some
sweeps:
    HOTREAD_EVERY=1 cargo test -p hotread-store --test store -- power_loss:: io_errors::

# A fuzz target for a number of seconds: import_csv, import_ndjson, stored_rows, decode, follow, serve (needs cargo-fuzz and a nightly)
fuzz target seconds="60":
    cargo +nightly fuzz run --fuzz-dir dev/fuzz {{ target }} -- -max_total_time={{ seconds }} -max_len=65536

# The simulation of sessions, from n seeds
seeds n="1000":
    HOTREAD_SEEDS={{ n }} cargo test --release -p hotread-proto --test session

# Server and replicas, killed n times over a bad network
chaos n="50":
    HOTREAD_CHAOS_KILLS={{ n }} cargo test --release -p hotread-server --test server chaos::

# The demo of the README
demo *args:
    cargo run --release -- demo {{ args }}

# HotRead compared with its peers; the reports go to docs/benchmarks/
bench *args:
    cargo build --profile dist -p hotread-cli
    cargo bench -p hotread-bench {{ args }}

# The same from end to end, compared with etcd, Redis and NATS as far as they are installed
bench-end-to-end *args:
    cargo bench -p hotread-bench --bench end_to_end --features peers {{ args }}

# All checks that each commit must pass
ci *steps:
    .ci/run {{ steps }}

# The slower ladder, before a release
deep: lint test doc package vectors readme interop kills sweeps seeds chaos (fuzz "import_csv" "300") (fuzz "import_ndjson" "300") (fuzz "stored_rows" "300") (fuzz "decode" "300") (fuzz "follow" "300") (fuzz "serve" "300") (loom "3") (shuttle "200000") faults tsan asan
    cargo deny check advisories
    for run in 1 2 3 4 5; do {{ just_executable() }} tsan || exit 1; done
