#!/usr/bin/env bash
# Plants each fault of faults/, one at a time, and checks that the tests named in its patch fail.
# A test that cannot fail proves nothing.
#
#   scripts/faults.sh                 all of them
#   scripts/faults.sh hotread-store   those of this crate
#   scripts/faults.sh no_ids          the one of this name
#   scripts/faults.sh loom shuttle    the tests of these tools
#   scripts/faults.sh --share 2/4 …   every fourth patch, from the third on: a part for each commit
#   scripts/faults.sh --check …       checks only that each patch applies to the current source, and that
#                                     each test exists: a second
#
# A fault is a file faults/CRATE/NAME.patch: what `git diff` prints for the mistake, below a header
#
#   # mistake: one line of English
#   # tool: none, loom, shuttle, tsan or asan
#   # test: the test that must fail under that tool
#
# whose last two lines are repeated for each further test. A test is
#
#   loom, shuttle   the path of a unit test of the crate, run under that model checker
#   none, asan      the path of a unit test, or NAME:PATH for one of tests/NAME.rs or tests/NAME/main.rs
#   tsan            the name of a test without harness in tests/
#
# Patches are applied to a copy of the working tree, uncommitted changes included, below the target
# directory; the working tree itself is left alone. Patches must fit exactly, except for line numbers.
#
# The other steps of the ladder show that the tests pass without a fault; run those first.
# HOTREAD_FAULT_TIMEOUT (seconds, default 300) bounds each test: a test that hangs has caught
# no fault.

set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

root=$PWD
timeout_s=${HOTREAD_FAULT_TIMEOUT:-300}
target=${CARGO_TARGET_DIR:-target}
[[ $target = /* ]] || target=$root/$target
work=$target/faults
tree=$work/tree

# Git must ignore the settings of a hook that runs this script, and a repository around the project.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX
export GIT_CEILING_DIRECTORIES=${root%/*}

export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
# A fault is a few lines in one file, and one is built after the other: incrementally that takes seconds. An
# interrupted run may leave a state that does not link; `rm -r target/debug/incremental` repairs it.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-1}

# ---- patches ----

# Reads a patch's header into `tools` and `tests`, or describes its defect in `problem`.
header() { # patch
    local line mistake=
    tools=() tests=()
    while IFS= read -r line && [[ $line == '#'* ]]; do
        case $line in
        '# mistake: '?*) mistake=${line#'# mistake: '} ;;
        '# tool: '?*) tools+=("${line#'# tool: '}") ;;
        '# test: '?*)
            tests+=("${line#'# test: '}")
            ((${#tests[@]} == ${#tools[@]})) || break
            ;;
        *) break ;;
        esac
    done <"$1"
    if [[ $line == '#'* || -z $mistake ]] || ((${#tests[@]} == 0 || ${#tests[@]} != ${#tools[@]})); then
        problem="BAD HEADER: the head of scripts/faults.sh describes it"
        return 1
    fi
}

# Splits a test into `where`, which is `lib` or the name of a file in tests/, and `path`.
locate() { # tool test
    where=lib path=$2
    if [[ $1 == tsan ]]; then
        where=$2 path=main
    elif [[ $2 =~ ^[a-z0-9_]+:[^:] ]]; then
        where=${2%%:*} path=${2#*:}
    fi
}

# Prints the folder of a crate.
home() { # crate
    if [[ -d crates/$1 ]]; then echo "crates/$1"; else echo "dev/${1#hotread-}"; fi
}

exists() { # crate tool test
    local where path files home
    home=$(home "$1")
    locate "$2" "$3"
    if [[ $where == lib ]]; then
        files=("$home/src")
    else
        files=("$home/tests/$where".rs "$home/tests/$where"/)
        # In a program of several files, the file of the module.
        [[ ! -d ${files[1]} || $path != *::* ]] || files=("${files[1]}${path%%::*}"{.rs,/})
    fi
    grep -rqsE "\bfn ${path##*::}\(" "${files[@]}"
}

# Succeeds if a patch whose header was read can be planted, as far as can be checked without a build; otherwise
# sets `problem` to the reason.
check() { # crate patch
    local row file changed
    for row in "${!tests[@]}"; do
        case ${tools[row]} in
        none | loom | shuttle | tsan | asan) ;;
        *)
            problem="UNKNOWN TOOL: ${tools[row]}"
            return 1
            ;;
        esac
        if ! exists "$1" "${tools[row]}" "${tests[row]}"; then
            problem="NO SUCH TEST: ${tests[row]}"
            return 1
        fi
    done
    if ! changed=$(git apply --whitespace=nowarn --check --numstat "$2" 2>&1); then
        problem="DOES NOT APPLY"$'\n'$changed
        return 1
    fi
    while IFS=$'\t' read -r _ _ file; do
        if [[ $file != "$(home "$1")/src/"* ]]; then
            problem="CHANGES ANOTHER FILE than the source of its crate: $file"
            return 1
        fi
    done <<<"$changed"
}

# ---- the copy ----

# Makes the copy equal to the working tree, without ignored files. The copy is a repository of its own,
# so that the one of the project is left alone, and need not exist. Unchanged files stay
# untouched, which keeps cargo's builds of them.
copy() {
    [[ -d $tree/.git ]] || git init -q "$tree"
    git --git-dir="$tree/.git" --work-tree="$root" add -A
    git -C "$tree" update-index -q --refresh >/dev/null || true
    git -C "$tree" checkout-index -qfua
    git -C "$tree" clean -fdq
}

# Prints the path of a program that cargo runs instead of rustc for the crates of the workspace. That keeps
# their builds apart: the faults share the builds of other crates with the other steps of the ladder,
# which never use a crate with a fault.
wrapper() { # tool
    local path=$work/rustc flags=
    # Optimisation of the crate does not affect loom's results; loom's own crate stays optimised.
    # This saves most of a build.
    case $1 in loom) path+=-quick flags=' -Copt-level=0 -Cdebuginfo=0' ;; esac
    printf '#!/bin/sh\nexec "$@"%s\n' "$flags" >"$path.new"
    chmod +x "$path.new"
    # An unchanged wrapper keeps its time stamp, and so cargo keeps its builds.
    if cmp -s "$path.new" "$path"; then rm "$path.new"; else mv "$path.new" "$path"; fi
    echo "$path"
}

# ---- tests ----

# Sets `cargo`, `flags`, `dir` and `select` for a test.
plan() { # crate tool test
    local where path
    locate "$2" "$3"
    cargo=(cargo)
    flags= dir=$target/$2
    select=(--exact "$path" --nocapture)
    case $2 in
    loom | shuttle) flags="--cfg hotread_$2" ;;
    none) dir=$target ;;
    asan)
        cargo=(cargo +nightly)
        flags="-Zsanitizer=address"
        ;;
    tsan)
        cargo=(cargo +nightly)
        flags="--cfg hotread_tsan -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
        export TSAN_OPTIONS="history_size=7 suppressions=$root/tsan.supp"
        select=()
        ;;
    esac
    # Plain tests share the ordinary builds of other crates if these have the features of the
    # whole workspace. Other programs of the same name are built as well, and run no test.
    if [[ $2 == none && $where != lib ]]; then cargo+=(test --workspace); else cargo+=(test -p "$1"); fi
    [[ $2 == none ]] || cargo+=(--release)
    [[ ${cargo[1]} != +nightly ]] || cargo+=(--target "$(rustc -vV | sed -n 's/^host: //p')")
    if [[ $where == lib ]]; then cargo+=(--lib); else cargo+=(--test "$where"); fi
}

# Succeeds if the test failed, and not a step before it.
caught() { # tool log
    case $1 in
    tsan) grep -q 'WARNING: ThreadSanitizer: data race' "$2" ;;
    *)
        grep -q '^running 1 test$' "$2" &&
            grep -qE '^test result: FAILED\. 0 passed; 1 failed|ERROR: (Address|Leak)Sanitizer|signal: [0-9]+, SIG(ABRT|BUS|ILL|SEGV)' "$2"
        ;;
    esac
}

try() { # crate tool test log; prints the verdict, 0 if caught. The fault is planted.
    local crate=$1 tool=$2 test=$3 log=$4 code=0 cargo flags dir select
    plan "$crate" "$tool" "$test"
    if [[ ${cargo[1]} == +nightly ]] && ! cargo +nightly --version &>"$log"; then
        echo "SKIPPED: no nightly toolchain"
        return 0
    fi
    export RUSTFLAGS=$flags CARGO_TARGET_DIR=$dir
    RUSTC_WORKSPACE_WRAPPER=$(wrapper "$tool")
    export RUSTC_WORKSPACE_WRAPPER
    cd "$tree"
    if ! "${cargo[@]}" --no-run &>"$log"; then
        echo "DOES NOT BUILD"
        tail -n 30 "$log"
        return 1
    fi
    # An older build, with the previous fault, would fail as well.
    if [[ $built != *" $tool "* ]] && ! grep -qE "^ +Compiling $crate v" "$log"; then
        echo "NOT BUILT: cargo took an older build for the one with this fault"
        return 1
    fi
    timeout -k 10 "$timeout_s" "${cargo[@]}" -- ${select[@]+"${select[@]}"} &>"$log" || code=$?
    if ((code == 124 || code == 137)); then
        echo "NOT CAUGHT: the test hung for $timeout_s s"
    elif ((code != 0)) && caught "$tool" "$log"; then
        echo "caught"
        return 0
    elif ((code != 0)); then
        echo "FAILED OTHERWISE, see $log"
        tail -n 30 "$log"
    elif [[ $tool == tsan ]] || grep -q '^running 1 test$' "$log"; then
        echo "NOT CAUGHT: the test passed"
    else
        echo "NO SUCH TEST: none was run"
    fi
    return 1
}

# ---- all of them ----

wanted() { # crate fault tool
    local word
    ((${#only[@]} == 0)) && return 0
    for word in "${only[@]}"; do
        [[ $word == "$1" || $word == "$2" || $word == "$3" ]] && return 0
    done
    return 1
}

report() { # fault tool seconds verdict
    printf '%-24s %-8s %4d s  %s\n' "$1" "$2" "$3" "${4%%$'\n'*}"
    if [[ $4 == *$'\n'* ]]; then
        printf '%s\n' "${4#*$'\n'}" | sed 's/^/    /'
    fi
}

only_check= share=0 shares=1
case ${1-} in
--check)
    only_check=yes
    shift
    ;;
--share)
    if ! [[ ${2-} =~ ^([0-9]+)/([1-9][0-9]*)$ ]]; then
        echo "--share takes a number and the number of shares, such as 2/4"
        exit 2
    fi
    shares=${BASH_REMATCH[2]}
    share=$((10#${BASH_REMATCH[1]} % shares))
    shift 2
    ;;
esac
only=("$@")

if [[ -z $only_check ]]; then
    mkdir -p "$work"
    # Two runs at a time would plant their faults in each other's copy.
    if command -v flock >/dev/null; then
        exec 9>"$work/lock"
        flock -n 9 || { echo "another scripts/faults.sh works in $work" && exit 1; }
    fi
    copy
fi

patches=0 total=0 missed=0 skipped=0 number=0
for patch in faults/*/*.patch; do
    ((number++ % shares == share)) || continue
    crate=$(basename "${patch%/*}") fault=$(basename "$patch" .patch) rows=()
    if ! header "$patch"; then
        wanted "$crate" "$fault" - || continue
        report "$fault" - 0 "$problem"
        patches=$((patches + 1)) total=$((total + 1)) missed=$((missed + 1))
        continue
    fi
    for row in "${!tests[@]}"; do
        ! wanted "$crate" "$fault" "${tools[row]}" || rows+=("$row")
    done
    ((${#rows[@]} > 0)) || continue
    patches=$((patches + 1)) total=$((total + ${#rows[@]}))
    if ! check "$crate" "$patch"; then
        report "$fault" - 0 "$problem"
        missed=$((missed + ${#rows[@]}))
        continue
    fi
    [[ -z $only_check ]] || continue
    git -C "$tree" apply --whitespace=nowarn "$root/$patch"
    built=' '
    for row in "${rows[@]}"; do
        start=$SECONDS tool=${tools[row]}
        if verdict=$(try "$crate" "$tool" "${tests[row]}" "$work/$crate-$fault-$row.log" </dev/null); then :; else missed=$((missed + 1)); fi
        report "$fault" "$tool" $((SECONDS - start)) "$verdict"
        built+="$tool "
        [[ $verdict != SKIPPED* ]] || skipped=$((skipped + 1))
    done
    git -C "$tree" apply --whitespace=nowarn -R "$root/$patch"
done

if ((total == 0)); then
    echo "faults/ has no fault for: ${only[*]-any}"
    exit 1
elif [[ -n $only_check ]] && ((missed == 0)); then
    echo "all $patches patches apply, and their $total tests exist"
elif [[ -n $only_check ]]; then
    echo "$missed of $total tests cannot be tried"
else
    echo "$((total - missed - skipped)) of $total planted faults were caught, $skipped skipped"
fi
((missed == 0))
