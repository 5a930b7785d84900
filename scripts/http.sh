#!/usr/bin/env bash
# Checks the HTTP interface with programs of other authors: curl requests every route of
# /v1/openapi.json, and schemathesis generates requests from that description and compares the answers with
# it. Fails at an answer that differs from its description, an error of the server, and a route without a request
# by curl.
#
#   scripts/http.sh TARGET_DIR    the folder that has the `hotread` command, such as target/debug
#
# Needs curl, Python with venv, and PyPI.

set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
venv=$PWD/target/schemathesis
version=4.32.5
# Requests made for each operation and phase.
examples=15
python=python3
[[ -x /usr/bin/python3 ]] && python=/usr/bin/python3

folder=$(mktemp -d)
server=
stop() {
    if [[ -n $server ]]; then
        kill -9 "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT
fail() {
    echo "http.sh: $*" >&2
    tail -20 "$folder/log" >&2
    exit 1
}

if [[ ! -x $venv/bin/schemathesis ]] || ! "$venv/bin/pip" show schemathesis 2>/dev/null | grep -qx "Version: $version"; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

cd "$folder"
RUST_LOG=warn "$bin/hotread" serve --db app.db --listen 127.0.0.1:0 >said 2>log &
server=$!
until grep -q http said; do
    kill -0 "$server" 2>/dev/null || fail "the server did not start"
    sleep 0.05
done
url=$(sed 's/.* at //' said)

# ---- curl, route by route ----

token=
: >asked
# route METHOD PATTERN TARGET STATUS [curl's options]: the answer is in `body`.
route() {
    local method=$1 pattern=$2 target=$3 status=$4 got
    shift 4
    echo "$method $pattern" >>asked
    local auth=()
    [[ -z $token ]] || auth=(-H "authorization: Bearer $token")
    got=$(curl -sS --max-time 60 -X "$method" -o body -w '%{http_code}' "${auth[@]}" "$@" "$url$target") ||
        fail "$method $target: curl gave up"
    [[ $got == "$status" ]] || fail "$method $target: $got instead of $status: $(head -c 500 body)"
}
has() { grep -q -- "$1" body || fail "no $1 in: $(head -c 500 body)"; }
json=(-H 'content-type: application/json')
t=/v1/tables/{table}

route GET /healthz /healthz 200
route GET /readyz /readyz 200
route GET /v1/openapi.json /v1/openapi.json 200
cp body description
route PUT $t /v1/tables/t 201 "${json[@]}" -d '{"search": true}'
route GET $t /v1/tables/t 200
route PATCH $t /v1/tables/t 200 "${json[@]}" -d '{"history": {"max_changes": 1000}}'
epoch=$("$python" -c 'import json; print(json.load(open("body"))["epoch"])')
route GET /v1/tables /v1/tables 200
has '"name":"t"'
route PUT $t/records/{key} /v1/tables/t/records/a%2Fb 201 "${json[@]}" -d '{"value": {"rate": 1.0}}'
route GET $t/records/{key} /v1/tables/t/records/a%2Fb 200
has '"rate":1.0'
route GET $t/records /v1/tables/t/records?prefix=a 200
has '"a/b"'
route POST $t/txn /v1/tables/t/txn 200 "${json[@]}" -d '{"ops": [{"put": {"key": "c", "value": "lhr"}}]}'
route GET $t/search /v1/tables/t/search?q=lhr 200
has '"key":"c"'
route GET $t/changes "/v1/tables/t/changes?from=$epoch:0" 200
has '"to":2'
route DELETE $t/records/{key} /v1/tables/t/records/c 200
route POST $t/replace /v1/tables/t/replace 200 "${json[@]}" -d '{"records": [{"key": "z", "value": []}]}'
has '"deleted":1'
route GET /v1/status /v1/status 200
has '"head":4'
route GET /metrics /metrics 200
has '^hotread_commits_total 4$'

# A stream does not end by itself: curl is stopped once the event has arrived.
echo "GET $t/events" >>asked
curl -sSN --max-time 60 "$url/v1/tables/t/events?from=$epoch:3" >events 2>/dev/null &
curl=$!
until grep -q '"to":4' events; do
    kill -0 "$curl" 2>/dev/null || fail "no event arrived: $(cat events)"
    sleep 0.05
done
kill "$curl"
wait "$curl" 2>/dev/null || true
grep -qx "id: $epoch:4" events || fail "the event has no id: $(cat events)"

route GET $t/sync /v1/tables/t/sync 400
has BAD_REQUEST
echo "GET $t/sync" >>asked
# 101, and then no frame for a client that sends no hello.
curl -sS -i --max-time 2 -H 'connection: upgrade' -H 'upgrade: websocket' -H 'sec-websocket-version: 13' \
    -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' -H 'sec-websocket-protocol: hotread.v1+json' \
    --http1.1 "$url/v1/tables/t/sync" >upgraded 2>/dev/null || true
grep -q '^HTTP/1.1 101' upgraded || fail "no upgrade: $(head -c 300 upgraded)"

route POST /v1/tokens /v1/tokens 201 "${json[@]}" -d '{"name": "root", "role": "admin"}'
token=$("$python" -c 'import json; print(json.load(open("body"))["secret"])')
last=$("$python" -c 'import json; print(json.load(open("body"))["id"])')
route GET /v1/tokens /v1/tokens 200
has '"root"'
secret=$token token=
route GET /v1/tables /v1/tables 401
has UNAUTHENTICATED
token=$secret
route DELETE $t /v1/tables/t 200
route POST /v1/tokens /v1/tokens 201 "${json[@]}" -d '{"name": "ci", "role": "read"}'
id=$("$python" -c 'import json; print(json.load(open("body"))["id"])')
route DELETE "/v1/tokens/{id}" "/v1/tokens/$id" 200
# The last admin token cannot be revoked, so that the server does not open up.
route DELETE "/v1/tokens/{id}" "/v1/tokens/$last" 400
has BAD_REQUEST
token=
# Probes are answered for any host name, also in HTTP/1.0 and without the body.
[[ $(curl -sS -0 -o body -w '%{http_code}' -H 'host: 10.1.2.3:7400' "$url/readyz") == 200 ]] || fail "a probe is refused"
[[ $(curl -sSI -o body -w '%{http_code}' "$url/healthz") == 200 ]] || fail "HEAD is refused"

sort -u asked >asked.routes
"$python" - description >all.routes <<'PYTHON'
import json, sys
paths = json.load(open(sys.argv[1]))["paths"]
print("\n".join(sorted(f"{method.upper()} {path}" for path, methods in paths.items() for method in methods)))
PYTHON
LC_ALL=C sort -o asked.routes asked.routes
LC_ALL=C sort -o all.routes all.routes
diff all.routes asked.routes >&2 || fail "the requested routes are not the described ones"
echo "curl: all $(wc -l <all.routes) routes"

# ---- schemathesis ----

# With the remaining token.
auth=(-H "authorization: Bearer $secret")
# The number of tables created: some of the names that schemathesis makes up are valid.
written() { curl -fsS "${auth[@]}" "$url/metrics" | grep 'method="PUT",route="/v1/tables/{table}",status="2xx"'; }
before=$(written)
# Streams do not end, and a session is not HTTP.
"$venv/bin/schemathesis" run "$url/v1/openapi.json" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
    "${auth[@]}" --exclude-path-regex '/(events|sync)$' \
    --phases examples,coverage,fuzzing --max-examples "$examples" --seed 1 \
    --request-timeout 30 --no-color >schemathesis.log 2>&1 || {
    cat schemathesis.log >&2
    fail "schemathesis found a difference"
}
tail -15 schemathesis.log
[[ $(written) != "$before" ]] || fail "no request of schemathesis had an effect"
kill -0 "$server" || fail "the server is gone"
! grep -qi panicked log || fail "the server panicked"
