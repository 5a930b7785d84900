#!/usr/bin/env bash
# Runs the commands that the README shows, as they stand there: the shell block after `<!-- run -->`,
# line by line in an empty folder, with the file that it imports. Stops at the first that fails.
#
#   scripts/readme.sh TARGET_DIR    the folder that has the `hotread` command, such as target/release

set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
commands=$(awk '/^<!-- run -->/ { found = 1 } found && /^```$/ { exit } block { print } found && /^```sh/ { block = 1 }' README.md)
[[ -n $commands ]] || { echo "the README has no block to run" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp crates/hotread/examples/data/geoip-sample.csv "$folder"
cd "$folder"
PATH=$bin:$PATH bash -euo pipefail -x <<<"$commands"
