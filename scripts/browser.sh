#!/usr/bin/env bash
# A web page of another origin can neither read from a server on loopback nor write to it, in any of the ways
# that a page has; the same page from an allowed origin can.
#
#   scripts/browser.sh TARGET_DIR    the folder that has the `hotread` command, such as target/debug
#
# Needs Debian's chromium, Python and curl.

set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "$1" && pwd)
page=$PWD/scripts/browser/page.html
rebind=$PWD/scripts/browser/rebind.py
python=python3
[[ -x /usr/bin/python3 ]] && python=/usr/bin/python3
chromium=$(command -v chromium || command -v chromium-browser) || {
    echo "browser.sh: there is no chromium" >&2
    exit 1
}

folder=$(mktemp -d)
pids=()
stop() {
    local pid
    for pid in "${pids[@]}"; do
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap stop EXIT
fail() {
    echo "browser.sh: $*" >&2
    exit 1
}

mkdir "$folder/pages"
cp "$page" "$folder/pages/page.html"
cd "$folder"
"$python" -u -m http.server --bind 127.0.0.1 --directory pages 0 >pages.log 2>&1 &
pids+=($!)
until grep -q 'port [0-9]' pages.log; do sleep 0.05; done
pages=$(grep -o 'port [0-9]*' pages.log | head -1 | cut -d' ' -f2)

serve() { # name, further arguments
    local name=$1
    shift
    RUST_LOG=warn "$bin/hotread" serve --db "$name.db" --listen 127.0.0.1:0 "$@" >"$name.said" 2>"$name.log" &
    pids+=($!)
    until grep -qs http "$name.said"; do
        kill -0 "${pids[-1]}" 2>/dev/null || fail "the server did not start: $(cat "$name.log")"
        sleep 0.05
    done
    url=$(sed 's/.* at //' "$name.said")
    curl -fsS -o /dev/null -X PUT "$url/v1/tables/t"
    curl -fsS -o /dev/null -X PUT -H 'content-type: application/json' -d '{"value": "treasure"}' \
        "$url/v1/tables/t/records/secret"
}

# Lets a browser open the page, and collects its results, one line for each try: the page sends them to the server
# that it came from.
visit() { # name, address of the page, chromium's options
    local name=$1 address=$2 browser
    shift 2
    "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
        --user-data-dir="$folder/profile-$name" --remote-debugging-port=0 "$@" "$address&name=$name" \
        >"$name.err" 2>&1 &
    browser=$!
    pids+=("$browser")
    for ((n = 0; n < 600; n++)); do
        grep -q "GET /found?name=$name&" pages.log && break
        kill -0 "$browser" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$browser" 2>/dev/null || true
    wait "$browser" 2>/dev/null || true
    "$python" - "$name" pages.log >"$name.found" <<'PYTHON'
import re, sys, urllib.parse
name, log = sys.argv[1:]
found = re.search(r"GET /found\?name=" + name + r"&words=(\S*) ", open(log).read())
print(urllib.parse.unquote(found[1]) if found else "")
PYTHON
    grep -qx 'done' "$name.found" || fail "$name: the page did not finish: $(cat "$name.found"; tail -5 "$name.err")"
    echo "--- $name"
    cat "$name.found"
}

head_of() { curl -fsS "$1/v1/tables/t" | "$python" -c 'import json,sys; print(json.load(sys.stdin)["seq"])'; }

tries=(fetch etag no-cors json form-post put text delete events socket image script style frame)

# Fails unless every try was kept out, and the table is unchanged.
nothing() { # name, url
    local name=$1 try
    for try in "${tries[@]}"; do
        grep -q "^$try: kept out" "$name.found" || fail "$name: $try: $(grep "^$try:" "$name.found" || echo 'was not tried')"
    done
    ! grep -q treasure "$name.found" || fail "$name: the page has read the record"
    [[ $(head_of "$2") == 1 ]] || fail "$name: the page has written"
}

# 1. From another origin, by address and by name.
serve strict
strict=$url
visit other "http://127.0.0.1:$pages/page.html?to=$strict"
nothing other "$strict"
visit named "http://localhost:$pages/page.html?to=$strict"
nothing named "$strict"

# 2. Rebinding: once the page is loaded, its own name leads to the server, so that for the
# browser both are one origin. The page may read the answers, which are refusals.
"$python" "$rebind" pages/page.html "${strict#http://}" >>pages.log 2>&1 &
pids+=($!)
until grep -q 'rebinding at port' pages.log; do sleep 0.05; done
port=$(grep -o 'rebinding at port [0-9]*' pages.log | cut -d' ' -f4)
origin=http://evil.example:$port
visit rebound "$origin/page.html?to=$origin" --host-resolver-rules="MAP evil.example 127.0.0.1"
for try in fetch no-cors json put text delete frame; do
    grep -q "^$try: read {\"code\":\"HOST_NOT_ALLOWED\"" rebound.found ||
        fail "rebound: $try: $(grep "^$try:" rebound.found || echo 'was not tried')"
done
for try in form-post events socket image script style; do
    grep -q "^$try: \(kept out\|read {\"code\":\"HOST_NOT_ALLOWED\"\)" rebound.found ||
        fail "rebound: $try: $(grep "^$try:" rebound.found || echo 'was not tried')"
done
! grep -q treasure rebound.found || fail "rebound: the page has read the record"
[[ $(head_of "$strict") == 1 ]] || fail "rebound: the page has written"

# The experiment could succeed: with the name allowed, the page reads the record.
serve fooled --allowed-host evil.example
"$python" "$rebind" pages/page.html "${url#http://}" >fooled.port 2>&1 &
pids+=($!)
until grep -q 'rebinding at port' fooled.port; do sleep 0.05; done
origin=http://evil.example:$(grep -o 'port [0-9]*' fooled.port | cut -d' ' -f2)
tail -f fooled.port >>pages.log &
pids+=($!)
visit fooled "$origin/page.html?to=$origin" --host-resolver-rules="MAP evil.example 127.0.0.1" >/dev/null
grep -q '^fetch: read .*treasure' fooled.found || fail "a page with an allowed host cannot read: $(cat fooled.found)"

# 3. The same page from an allowed origin, which shows that the server is what keeps the page
# out otherwise. It reads answers with their entity tags, writes, and follows the table.
serve open --allowed-origin "http://127.0.0.1:$pages"
visit allowed "http://127.0.0.1:$pages/page.html?to=$url"
for read in 'fetch: read .*treasure' 'etag: read "[0-9a-f]*-1"' 'json: read {"ok":true' 'put: read {"ok":true' \
    'delete: read {"ok":true' 'events: read it was opened' 'socket: read treasure'; do
    grep -q "^$read" allowed.found || fail "the allowed page could not: $read"
done
[[ $(head_of "$url") == 4 ]] || fail "the allowed page has not written"
# Requests that browsers send without a preflight are refused for every origin: they are not JSON.
for try in text form-post; do
    ! grep -q "^$try: read {\"ok\"" allowed.found || fail "$try: $(grep "^$try:" allowed.found)"
done
# This server also keeps out a page of another origin.
visit uninvited "http://localhost:$pages/page.html?to=$url"
grep -q '^fetch: kept out' uninvited.found && grep -q '^put: kept out' uninvited.found ||
    fail "a page of an origin that is not allowed got in"
# A check of the experiment itself: the page's requests reached the server.
[[ $(curl -fsS "$url/metrics" | grep -c 'route="/v1/tables/{table}/sync",status="1xx"') == 1 ]] ||
    fail "the server saw no session of the allowed page"
curl -fsS "$strict/metrics" | grep -q 'status="4xx"' || fail "no request of the other pages reached the server"
echo "pages of other origins were kept out by $strict; the allowed one was served"
