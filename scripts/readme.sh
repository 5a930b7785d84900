#!/usr/bin/env bash
# Runs the commands in the README verbatim: the shell blocks after `<!-- run -->`,
# line by line in a folder that is empty but for the file that they import. Stops at the first failure.
#
#   scripts/readme.sh TARGET_DIR    the folder that has the `hotread` command, such as target/release

set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
commands=$(awk '/^<!-- run -->/ { wanted = 1 } /^```$/ { if (block) wanted = block = 0 } block { print } wanted && /^```sh/ { block = 1 }' README.md)
[[ -n $commands ]] || { echo "the README has no block to run" >&2; exit 1; }

folder=$(mktemp -d)
trap 'kill -- -"$group" 2>/dev/null || true; rm -rf "$folder"' EXIT
cp --parents crates/hotread/examples/data/geoip-sample.csv "$folder"
cd "$folder"
# The commands leave a server running: a process group of their own ends it as well.
PATH=$bin:$PATH setsid bash -euo pipefail -x <<<"$commands" &
group=$!
wait "$group"
