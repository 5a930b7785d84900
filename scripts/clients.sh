#!/usr/bin/env bash
# Replicas in Python and JavaScript, written from docs/wire.md alone, follow a table while it
# is written to over HTTP, and its server is killed and started again. In the end they must have the content that
# `hotread verify` finds in the database, after one snapshot each.
#
#   scripts/clients.sh TARGET_DIR    the folder that has the `hotread` command, such as target/debug
#
# Needs curl, Python with websockets and xxhash, and Node.js with ws.

set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
clients=$PWD/scripts/clients
python=python3
[[ -x /usr/bin/python3 ]] && python=/usr/bin/python3
export NODE_PATH=${NODE_PATH:-/usr/share/nodejs}

folder=$(mktemp -d)
server=
stop() {
    [[ -z $server ]] || kill -9 "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
cp crates/hotread/examples/data/geoip-sample.csv "$folder"
cd "$folder"
export HOTREAD_DB=$folder/app.db

start() { # address
    : >said
    "$bin/hotread" serve --listen "$1" >said 2>>log &
    server=$!
    until grep -q http said; do
        kill -0 "$server" || { cat log; exit 1; }
        sleep 0.05
    done
    url=$(sed 's/.* at //' said)
}

"$bin/hotread" import t geoip-sample.csv --no-header --columns start,end,country --comment '#' --key start >/dev/null
before=$("$bin/hotread" table show t --json | "$python" -c 'import json,sys; print(json.load(sys.stdin)["seq"])')
writes=120
until=$((before + writes))
start 127.0.0.1:0
"$python" "$clients/follow.py" "${url/http/ws}" t "$until" >python.txt 2>python.err &
py=$!
node "$clients/follow.cjs" "${url/http/ws}" t "$until" >node.txt 2>node.err &
js=$!

# The server is killed only once both replicas have the table.
until (($(curl -fsS "$url/v1/status" | grep -o '"mode":"snapshot"' | wc -l) == 2)); do
    kill -0 "$py" "$js"
    sleep 0.1
done

write() { # number
    local body
    case $(($1 % 3)) in
    0) body="{\"value\": {\"n\": $1.0, \"text\": \"\\\"value\\\": ä\\u00e9\"}}" ;;
    1) body="{\"value\": $1, \"category\": \"test\"}" ;;
    2)
        curl -fsS -o /dev/null -X DELETE "$url/v1/tables/t/records/key%2F$(($1 - 2))"
        return
        ;;
    esac
    curl -fsS -o /dev/null -X PUT -H 'content-type: application/json' -d "$body" \
        "$url/v1/tables/t/records/key%2F$1"
}

for ((n = 0; n < writes; n++)); do
    if ((n == writes / 2)); then
        kill -9 "$server"
        wait "$server" 2>/dev/null || true
        start "${url#http://}"
    fi
    write "$n"
done

for client in "$py" "$js"; do
    wait "$client" || { cat ./*.err log; exit 1; }
done
kill -TERM "$server"
wait "$server"
server=
want=$("$bin/hotread" table show t --json | "$python" -c '
import json, sys
t = json.load(sys.stdin)
print("%s:%d %s %d 1 1" % (t["epoch"], t["seq"], t["digest"], t["records"]))')
for name in python node; do
    echo "$name: $(cat "$name.txt")"
    [[ $(cat "$name.txt") == "$want" ]] || { echo "wanted: $want"; cat "$name.err"; exit 1; }
done
"$bin/hotread" verify >/dev/null
echo "both replicas equal the database, after one snapshot and one resumption each"
