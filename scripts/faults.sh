#!/usr/bin/env bash
# Plants each fault that a crate's faults.txt lists, one at a time, and demands that the test named
# beside it fails. A test that cannot fail proves nothing.
#
#   scripts/faults.sh                 all of them
#   scripts/faults.sh hotread-store   the rows of this crate
#   scripts/faults.sh no_again        the rows whose fault has this name
#   scripts/faults.sh loom shuttle    the rows of these tools
#
# A row is  fault|tool|test:
#
#   loom, shuttle   test: path of a unit test of the crate, run under that model checker
#   none, asan      test: path of a unit test, or NAME:PATH for one in tests/NAME.rs
#   tsan            test: name of a test without harness in tests/
#
# By hand, the same as one row:
#
#   RUSTFLAGS='--cfg loom --cfg hotread_fault="no_again"' LOOM_MAX_PREEMPTIONS=2 \
#     cargo test --release --lib -p hotread -- --exact TEST
#
# That the tests pass without a fault is the business of the other steps of the ladder; run those
# first. HOTREAD_FAULT_TIMEOUT (seconds, default 300) bounds each test: a test that hangs has not
# caught anything.

set -euo pipefail
cd "$(dirname "$0")/.."

crates=(hotread hotread-proto hotread-store)
timeout_s=${HOTREAD_FAULT_TIMEOUT:-300}
target=${CARGO_TARGET_DIR:-target}
[[ $target = /* ]] || target=$PWD/$target
host=$(rustc -vV | sed -n 's/^host: //p')
work=$target/faults
mkdir -p "$work"

export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
# Many small builds: optimised, but without the link-time optimisation of a release.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

rows() { grep -vE '^[[:space:]]*(#|$)' "crates/$1/faults.txt"; } # crate

wanted() { # crate fault tool
    local word
    ((${#only[@]} == 0)) && return 0
    for word in "${only[@]}"; do
        [[ $word == "$1" || $word == "$2" || $word == "$3" ]] && return 0
    done
    return 1
}

# The faults in the source and in the table must be the same ones.
check_table() { # crate
    local planted listed
    planted=$(grep -rhoE 'hotread_fault *= *"[a-z0-9_]+"' "crates/$1/src" | grep -oE '"[^"]+"' | tr -d '"' | sort -u)
    listed=$(rows "$1" | cut -d'|' -f1 | sort -u)
    if ! diff <(echo "$planted") <(echo "$listed") >"$work/diff"; then
        echo "faults in crates/$1/src (<) and in crates/$1/faults.txt (>) differ:"
        grep '^[<>]' "$work/diff"
        return 1
    fi
}

# Cargo asks this instead of rustc for the crates of the workspace only, so that a fault does not
# rebuild the dependencies as RUSTFLAGS would. Its path is part of what cargo remembers, so each
# fault has its own.
wrapper() { # crate fault tool
    local path=$work/rustc-$2-$3 quick=
    # What loom or a simulation sees does not depend on how the crate is optimised; loom's own
    # crate, a dependency, stays optimised. That saves most of a build.
    case "$1 $3" in *\ loom | hotread-proto\ none | hotread-store\ none) quick='-Copt-level=0 -Cdebuginfo=0' ;; esac
    printf '#!/bin/sh\nexec "$@" %s --cfg '\''hotread_fault="%s"'\''\n' "$quick" "$2" >"$path.new"
    chmod +x "$path.new"
    # Unchanged, it keeps its time stamp, and cargo its builds.
    if cmp -s "$path.new" "$path"; then rm "$path.new"; else mv "$path.new" "$path"; fi
    echo "$path"
}

# Sets `cargo`, `flags`, `dir` and `select` for a row.
plan() { # crate tool test
    local crate=$1 tool=$2 test=$3
    cargo=(cargo test --release -p "$crate")
    flags=
    dir=$target/$tool
    local where=lib path=$test
    if [[ $test =~ ^[a-z0-9_]+:[^:] ]]; then
        where=${test%%:*} path=${test#*:}
    fi
    [[ $where == lib ]] && cargo+=(--lib) || cargo+=(--test "$where")
    select=(--exact "$path" --nocapture)
    case $tool in
    loom | shuttle) flags="--cfg $tool" ;;
    none) dir=$target/plain ;;
    asan)
        cargo=(cargo +nightly "${cargo[@]:1}" --target "$host")
        flags="-Zsanitizer=address"
        ;;
    tsan)
        cargo=(cargo +nightly test --release -p "$crate" --target "$host" --test "$test")
        flags="--cfg hotread_tsan -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
        export TSAN_OPTIONS="history_size=7 suppressions=$PWD/tsan.supp"
        select=()
        ;;
    *)
        echo "unknown tool '$tool'"
        return 1
        ;;
    esac
}

# Did the test fail, and not something before it?
caught() { # tool log
    case $1 in
    tsan) grep -q 'WARNING: ThreadSanitizer: data race' "$2" ;;
    *) grep -q '^running 1 test$' "$2" ;;
    esac
}

try() { # crate fault tool test; prints the verdict, 0 if caught
    local crate=$1 fault=$2 tool=$3 test=$4 log code=0 cargo flags dir select
    log=$work/$fault-$tool.log
    plan "$crate" "$tool" "$test" || return 1
    if [[ ${cargo[1]} == +nightly ]] && ! cargo +nightly --version >"$log" 2>&1; then
        echo "SKIPPED: no nightly toolchain"
        return 0
    fi
    export RUSTFLAGS=$flags CARGO_TARGET_DIR=$dir
    RUSTC_WORKSPACE_WRAPPER=$(wrapper "$crate" "$fault" "$tool")
    export RUSTC_WORKSPACE_WRAPPER
    if ! "${cargo[@]}" --no-run >"$log" 2>&1; then
        echo "DOES NOT BUILD"
        tail -n 30 "$log"
        return 1
    fi
    timeout -k 10 "$timeout_s" "${cargo[@]}" -- ${select[@]+"${select[@]}"} >"$log" 2>&1 || code=$?
    if ((code == 0)); then
        if caught "$tool" "$log" || [[ $tool == tsan ]]; then
            echo "NOT CAUGHT: the test passed"
        else
            echo "NO SUCH TEST"
        fi
    elif ((code == 124 || code == 137)); then
        echo "NOT CAUGHT: the test hung for $timeout_s s"
    elif ! caught "$tool" "$log"; then
        echo "FAILED OTHERWISE, see $log"
        tail -n 30 "$log"
    else
        echo "caught"
        return 0
    fi
    return 1
}

only=("$@")
total=0 missed=0 disagree=0
for crate in "${crates[@]}"; do
    check_table "$crate" || disagree=1
    while IFS='|' read -r fault tool test; do
        wanted "$crate" "$fault" "$tool" || continue
        start=$SECONDS
        if verdict=$(try "$crate" "$fault" "$tool" "$test" </dev/null); then :; else missed=$((missed + 1)); fi
        total=$((total + 1))
        printf '%-24s %-8s %4d s  %s\n' "$fault" "$tool" $((SECONDS - start)) "${verdict%%$'\n'*}"
        if [[ $verdict == *$'\n'* ]]; then
            printf '%s\n' "${verdict#*$'\n'}" | sed 's/^/    /'
        fi
    done < <(rows "$crate")
done

if ((total == 0)); then
    echo "no row of any faults.txt matches: ${only[*]}"
    exit 1
fi
echo "$((total - missed)) of $total planted faults were caught"
((missed == 0 && disagree == 0))
