#!/usr/bin/env python3
"""Recomputes the test vectors of docs/wire.md from the text of the specification alone.

    python3 -m venv target/wire-venv
    target/wire-venv/bin/pip install xxhash
    target/wire-venv/bin/python scripts/wire_vectors.py             # docs/wire.md
    target/wire-venv/bin/python scripts/wire_vectors.py OTHER.md    # another copy of it

Shares no code with the Rust crates, which check themselves against the same vectors in
crates/hotread-proto/tests/wire_doc.rs. Exits with 1 and names each vector that differs, with 2 if
the document has no vectors.
"""

import hashlib
import hmac
import json
import re
import sys
from datetime import datetime
from pathlib import Path

try:
    import xxhash
except ImportError:
    sys.exit("xxhash is missing; see the top of this file for how to install it")

MODULUS = 1 << 128
HASHES = ("plain", "keyed")


class Checker:
    """Compares and counts; continues after a difference."""

    def __init__(self):
        self.checked = 0
        self.failed = 0

    def same(self, what, computed, given):
        self.checked += 1
        if computed != given:
            self.failed += 1
            print(f"{what}: the document says {given!r}, computed {computed!r}", file=sys.stderr)


def hash_bytes(kind, secret, data):
    if kind == "plain":
        return xxhash.xxh3_128_intdigest(data)
    return int.from_bytes(hmac.digest(secret, data, hashlib.sha256)[:16], "big")


def length(data):
    return len(data).to_bytes(4, "little")


def text(data):
    data = data.encode()
    return length(data) + data


def item_bytes(key, seq, value_text):
    return text(key) + seq.to_bytes(8, "little") + value_text.encode()


def put_bytes(put):
    expires_at = put.get("expires_at_ms")
    return (
        text(put["key"])
        + text(put.get("category", "general"))
        + text(put["value_text"])
        + (-1 if expires_at is None else expires_at).to_bytes(8, "little", signed=True)
    )


def body_bytes(body):
    if "records" in body:
        return b"r" + b"".join(put_bytes(put) for put in body["records"])
    data = b""
    for op in body["ops"]:
        data += b"p" + put_bytes(op["put"]) if "put" in op else b"d" + text(op["delete"])
    for condition in body.get("if", []):
        if "if_seq" in condition:
            data += b"s" + condition["if_seq"].to_bytes(8, "little")
        else:
            data += b"a" if "if_absent" in condition else b"e"
        data += text(condition["key"])
    return data


def show(number):
    return f"{number:032x}"


def compact(given):
    """Removes white space outside of strings."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', lambda m: m.group(1) or "", given)


def written(millis):
    """Formats a time in its canonical form."""
    seconds, rest = divmod(millis, 1000)
    days, seconds = divmod(seconds, 86400)
    day = datetime.fromordinal(datetime(1970, 1, 1).toordinal() + days)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{day:%Y-%m-%d}T{clock}.{rest:03d}Z"


def read(given):
    """Parses a time in any of its forms; returns milliseconds."""
    if re.fullmatch(r"[0-9]+", given):
        return int(given)
    form = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))"
    match = re.fullmatch(form, given)
    year, month, day, hours, minutes, seconds = (int(match.group(n)) for n in range(1, 7))
    millis = int(((match.group(7) or "") + "000")[:3])
    if seconds == 60:
        seconds, millis = 59, 999
    days = datetime(year, month, day).toordinal() - datetime(1970, 1, 1).toordinal()
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds
    if match.group(8):
        offset = int(match.group(9)) * 3600 + int(match.group(10)) * 60
        total -= offset if match.group(8) == "+" else -offset
    return total * 1000 + millis


def check_records(check, secret, vectors):
    sums = dict.fromkeys(HASHES, 0)
    for record in vectors["records"]:
        data = item_bytes(record["key"], record["seq"], record["value_text"])
        if "bytes" in record:
            check.same(f"bytes of record {record['key']!r}", data.hex(), record["bytes"])
        for kind in HASHES:
            number = hash_bytes(kind, secret, data)
            sums[kind] = (sums[kind] + number) % MODULUS
            check.same(f"record {record['key']!r}, {kind}", show(number), record[kind])
    for kind in HASHES:
        check.same(f"digest of all records, {kind}", show(sums[kind]), vectors["digest"][kind])


def check_changes(check, secret, vectors):
    table = {}
    for change in vectors["changes"]:
        seq = change["seq"]
        for key in change["delete"]:
            del table[key]
        for put in change["put"]:
            table[put["key"]] = (seq, put["value_text"])
        check.same(f"number of records after seq {seq}", len(table), change["records"])
        for kind in HASHES:
            total = 0
            for key, (at, value_text) in table.items():
                total += hash_bytes(kind, secret, item_bytes(key, at, value_text))
            check.same(f"digest after seq {seq}, {kind}", show(total % MODULUS), change[kind])


def main():
    default = Path(__file__).resolve().parent.parent / "docs" / "wire.md"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    document = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```json vectors\n(.*?)^```$", document, re.M | re.S)
    if len(blocks) != 1:
        print(f"{path} has {len(blocks)} blocks of test vectors instead of one", file=sys.stderr)
        return 2
    vectors = json.loads(blocks[0])
    secret = bytes.fromhex(vectors["secret"])
    check = Checker()
    check_records(check, secret, vectors)
    check_changes(check, secret, vectors)
    for at, body in enumerate(vectors["bodies"]):
        data = body_bytes(body)
        for kind in HASHES:
            number = hash_bytes(kind, secret, data)
            check.same(f"body {at}, {kind}", show(number), body[kind])
    for value in vectors["values"]:
        given = value["given"]
        check.same(f"compact form of {given!r}", compact(given), value["value_text"])
    for time in vectors["times"]:
        check.same(f"time {time['given']!r}", read(time["given"]), time["millis"])
        check.same(f"time {time['millis']} as written", written(time["millis"]), time["written"])
    if check.failed:
        print(f"{check.failed} of {check.checked} test vectors differ", file=sys.stderr)
        return 1
    print(f"{check.checked} test vectors agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
