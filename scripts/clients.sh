#!/usr/bin/env bash
# Replicas in Python and JavaScript, written from docs/wire.md alone, follow a table while it
# is written to over HTTP, and its server is killed and started again. In the end they must have the content that
# `hotread verify` finds in the database, after one snapshot each. Once without TLS, and once with TLS and a
# private authority, where each client also refuses the server unless it knows the authority.
#
#   scripts/clients.sh TARGET_DIR    the folder that has the `hotread` command, such as target/debug
#
# Needs curl, openssl, Python with websockets and xxhash, and Node.js with ws.

set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
sample=$PWD/crates/hotread/examples/data/geoip-sample.csv
clients=$PWD/scripts/clients
certificates=$PWD/docs/guide/deploy/hotread-certificates
for python in /usr/bin/python3 python3; do
    "$python" -c 'import websockets, xxhash' 2>/dev/null && break
done
export NODE_PATH=${NODE_PATH:-/usr/share/nodejs}
writes=120

folder=$(mktemp -d)
server=
stop() {
    [[ -z $server ]] || kill -9 "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT

start() { # address
    : >said
    "$bin/hotread" serve --listen "$1" "${serve[@]}" >said 2>>log &
    server=$!
    until grep -q http said; do
        kill -0 "$server" || { cat log; exit 1; }
        sleep 0.05
    done
    url=$(sed 's/.* at //' said)
}

write() { # number
    local body
    case $(($1 % 3)) in
    0) body="{\"value\": {\"n\": $1.0, \"text\": \"\\\"value\\\": ä\\u00e9\"}}" ;;
    1) body="{\"value\": $1, \"category\": \"test\"}" ;;
    2)
        curl -fsS "${curl[@]}" -o /dev/null -X DELETE "$url/v1/tables/t/records/key%2F$(($1 - 2))"
        return
        ;;
    esac
    curl -fsS "${curl[@]}" -o /dev/null -X PUT -H 'content-type: application/json' -d "$body" \
        "$url/v1/tables/t/records/key%2F$1"
}

# A client that does not know the authority must not follow, and say why.
refuses() { # words, command
    local words=$1 err
    shift
    err=$(timeout 3 "$@" 2>&1 >/dev/null) && { echo "followed a server that it does not know: $*"; exit 1; }
    grep -qi "$words" <<<"$err" || { echo "$err"; exit 1; }
}

follow() { # plain or tls
    mkdir "$folder/$1"
    cd "$folder/$1"
    export HOTREAD_DB=$PWD/app.db
    serve=() curl=() ca=()
    if [[ $1 == tls ]]; then
        "$certificates" . localhost client &>openssl.log || { cat openssl.log; exit 1; }
        serve=(--tls-cert server.pem --tls-key server.key) curl=(--cacert ca.pem) ca=(--ca ca.pem)
    fi
    "$bin/hotread" import t "$sample" --no-header --columns start,end,country --comment '#' --key start >/dev/null
    local before until py js
    before=$("$bin/hotread" table show t --json | "$python" -c 'import json,sys; print(json.load(sys.stdin)["seq"])')
    until=$((before + writes))
    start 127.0.0.1:0
    if [[ $1 == tls ]]; then
        [[ $url == https://* ]]
        refuses 'certificate verify failed' "$python" "$clients/follow.py" "$url" t "$until"
        refuses 'unable to .* certificate' node "$clients/follow.cjs" "$url" t "$until"
    fi
    "$python" "$clients/follow.py" "$url" t "$until" "${ca[@]}" >python.txt 2>python.err &
    py=$!
    node "$clients/follow.cjs" "$url" t "$until" "${ca[@]}" >node.txt 2>node.err &
    js=$!

    # The server is killed only once both replicas have the table.
    until (($(curl -fsS "${curl[@]}" "$url/v1/status" | grep -o '"mode":"snapshot"' | wc -l) == 2)); do
        kill -0 "$py" "$js"
        sleep 0.1
    done
    local n
    for ((n = 0; n < writes; n++)); do
        if ((n == writes / 2)); then
            kill -9 "$server"
            wait "$server" 2>/dev/null || true
            start "${url#*://}"
        fi
        write "$n"
    done

    local client want name
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
        echo "$1, $name: $(cat "$name.txt")"
        [[ $(cat "$name.txt") == "$want" ]] || { echo "wanted: $want"; cat "$name.err"; exit 1; }
    done
    "$bin/hotread" verify >/dev/null
}

follow plain
follow tls
echo "both replicas equal the database, after one snapshot and one resumption each, with TLS and without"
