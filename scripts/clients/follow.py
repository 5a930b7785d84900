"""A replica in Python, written from docs/wire.md alone.

    follow.py URL TABLE UNTIL [--token TOKEN] [--ca FILE] [--cert FILE --key FILE]

Follows the table of the server at URL (http://host:port, or https with TLS) until it has transaction
UNTIL, through lost connections, makes every check of the document, and prints one line: position,
digest, and the numbers of records, snapshots and resumptions. FILE has the authority, in PEM, that issued
the server's certificate; without it, the system's authorities count. The files of --cert and --key have the
client's own certificate, for a server that requires one.

Needs the packages websockets (tried with 10.4 and 17.4) and xxhash.
"""

import argparse
import asyncio
import inspect
import json
import random
import re
import ssl
import sys
import time

import websockets
import xxhash

MAX_FRAME = 2 << 20
# websockets 14 gave the argument another name.
HEADERS = (
    "additional_headers"
    if "additional_headers" in inspect.signature(websockets.connect).parameters
    else "extra_headers"
)
MASK = (1 << 128) - 1


class GivenUp(Exception):
    """The connection is unusable; if `damaged`, so is the received content."""

    def __init__(self, why, damaged=False):
        super().__init__(why)
        self.damaged = damaged


def need(holds, why, damaged=False):
    if not holds:
        raise GivenUp(why, damaged)


class Replica:
    def __init__(self):
        self.records = {}  # key: record
        self.at = None  # (epoch, seq, digest)
        self.snapshots = self.resumptions = 0
        self.staged = None
        self.pieces = []

    def digest(self, records):
        return sum(int(record["h"], 16) for record in records.values()) & MASK

    def check(self, record, text):
        """Checks the item hash, over the value's text in the frame."""
        if self.sealed:
            return
        key = record["key"].encode()
        item = len(key).to_bytes(4, "little") + key + record["seq"].to_bytes(8, "little") + text
        need(xxhash.xxh3_128_hexdigest(item) == record["h"], "an item hash is wrong", True)

    def welcome(self, frame):
        self.sealed = frame.get("sealed", False)
        self.epoch = frame["epoch"]
        self.heartbeat = min(max(frame["heartbeat_ms"], 10), 60_000) / 1000
        if frame["mode"] == "snapshot":
            self.staged = {}
            self.parts, self.last_key, self.staged_to = 0, b"", None
            self.snapshots += 1
        else:
            need(self.at and self.at[:2] == (self.epoch, frame["seq"]), "resumed elsewhere")
            self.resumptions += 1

    def snapshot(self, frame, texts):
        need(self.staged is not None and self.staged_to is None, "a part out of turn")
        self.parts += 1
        need(frame["part"] == self.parts, "a part is missing")
        for record, text in zip(frame["records"], texts):
            key = record["key"].encode()
            need(key > self.last_key, "keys do not ascend")
            self.last_key = key
            self.check(record, text)
            self.staged[record["key"]] = record

    def txn(self, frame, texts):
        texts = iter(texts)
        for op in frame["ops"]:
            if "put" in op:
                need(frame["from"] <= op["put"]["seq"] <= frame["to"], "a seq is wrong", True)
                self.check(op["put"], next(texts))
            else:
                need("delete" in op, "an operation of no known kind")
        if self.pieces:
            same = all(self.pieces[0][k] == frame[k] for k in ("from", "to", "digest", "count"))
            need(same, "pieces are mixed")
        self.pieces.append(frame)
        if frame.get("more", False):
            return
        ops = [op for piece in self.pieces for op in piece["ops"]]
        self.pieces = []
        if self.staged is not None:
            need(self.staged_to is None or frame["from"] == self.staged_to + 1, "a gap")
            self.staged_to = frame["to"]
            self.apply(self.staged, ops)
            return
        epoch, seq, digest = self.at
        need(frame["from"] == seq + 1, "a gap")
        for op in ops:
            key = (op.get("put") or op["delete"])["key"]
            if key in self.records:
                digest -= int(self.records[key]["h"], 16)
            if "put" in op:
                digest += int(op["put"]["h"], 16)
        self.apply(self.records, ops)
        digest &= MASK
        good = digest == int(frame["digest"], 16) and len(self.records) == frame["count"]
        need(good, "the digest after a transaction is wrong", True)
        self.at = (epoch, frame["to"], digest)

    @staticmethod
    def apply(records, ops):
        for op in ops:
            if "put" in op:
                records[op["put"]["key"]] = op["put"]
            else:
                records.pop(op["delete"]["key"], None)

    def snapshot_end(self, frame):
        need(self.staged is not None, "the end of no snapshot")
        need(self.staged_to in (None, frame["at"]), "a snapshot ends elsewhere")
        staged, self.staged = self.staged, None
        digest = self.digest(staged)
        good = digest == int(frame["digest"], 16) and len(staged) == frame["count"]
        need(good, "the digest of a snapshot is wrong", True)
        self.records, self.at = staged, (self.epoch, frame["at"], digest)

    def beat(self, frame):
        if self.staged is None:
            _, seq, digest = self.at
            need(frame["at"] == seq, "the server believes us elsewhere")
            need(int(frame["digest"], 16) == digest, "the digest differs", True)


VALUE = re.compile(r'"value":')
DECODER = json.JSONDecoder()


def value_texts(text):
    """Returns the texts of the members `value` of records, verbatim from a frame."""
    texts, at = [], 0
    while True:
        found = VALUE.search(text, at)
        if not found:
            return texts
        # Inside of strings a quote is escaped, so `"value":` is always a member's name. The members of
        # records come first: the content of a value is skipped with it.
        start = found.end()
        while text[start] in " \t\r\n":
            start += 1
        _, at = DECODER.raw_decode(text, start)
        texts.append(text[start:at].encode())


async def session(url, context, table, until, token, replica):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = websockets.connect(
        f"{url}/v1/tables/{table}/sync",
        subprotocols=["hotread.v1+json"],
        **{HEADERS: headers},
        ssl=context,
        compression=None,
        max_size=MAX_FRAME,
        ping_interval=None,
        open_timeout=10,
    )
    async with connection as socket:
        need(socket.subprotocol == "hotread.v1+json", "another subprotocol")
        replica.staged, replica.pieces = None, []
        hello = {"v": 1, "name": "python", "coalesce": True}
        if replica.at:
            epoch, seq, digest = replica.at
            hello["from"] = {"epoch": epoch, "seq": seq, "digest": f"{digest:032x}"}
        await socket.send(json.dumps({"hello": hello}))
        patience, pings, pinged, welcomed, acked = 10, 0, 0.0, False, 0
        heard = time.monotonic()
        while True:
            wait = heard + patience - time.monotonic()
            need(wait > 0, "the server fell silent")
            if welcomed:
                wait = min(wait, max(pinged + replica.heartbeat - time.monotonic(), 0.001))
            try:
                text = await asyncio.wait_for(socket.recv(), wait)
            except asyncio.TimeoutError:
                text = None
            if text is not None:
                heard = time.monotonic()
                frame = json.loads(text)
                for kind, body in frame.items():
                    if kind == "welcome":
                        need(not welcomed and body["v"] == 1, "a welcome out of turn")
                        replica.welcome(body)
                        welcomed, patience = True, 3 * replica.heartbeat
                    elif kind in ("reset", "goodbye", "error"):
                        raise GivenUp(body.get("reason") or body.get("message"))
                    elif kind in ("snapshot", "txn"):
                        getattr(replica, kind)(body, value_texts(text))
                    elif kind == "snapshot_end":
                        replica.snapshot_end(body)
                    elif kind == "heartbeat":
                        replica.beat(body)
            if welcomed and time.monotonic() >= pinged + replica.heartbeat:
                pings, pinged = pings + 1, time.monotonic()
                await socket.send(json.dumps({"ping": {"n": pings}}))
            if replica.staged is None and replica.at and welcomed:
                if replica.at[1] >= acked + 50 or replica.at[1] >= until:
                    acked = replica.at[1]
                    await socket.send(json.dumps({"ack": {"seq": acked}}))
                if replica.at[1] >= until:
                    return


def reason(error):
    """Returns the server's reason for a refusal, which websockets before 14 does not keep, or the error."""
    body = getattr(getattr(error, "response", None), "body", None)
    try:
        return json.loads(body)["message"]
    except (TypeError, ValueError, KeyError):
        return error


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("table")
    parser.add_argument("until", type=int)
    parser.add_argument("--token")
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    args = parser.parse_args()
    # The schemes are http and ws, or https and wss.
    url = re.sub("^http", "ws", args.url)
    # Verifies the certificate and its name.
    context = ssl.create_default_context(cafile=args.ca) if url.startswith("wss:") else None
    if context and args.cert:
        context.load_cert_chain(args.cert, args.key)
    table, until = args.table, args.until
    replica, attempts = Replica(), 0
    while True:
        try:
            await session(url, context, table, until, args.token, replica)
            break
        except GivenUp as error:
            if error.damaged:
                replica.at = None
            print(f"given up: {error}", file=sys.stderr)
            if error.damaged:
                sys.exit(1)
        except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
            print(f"lost: {reason(error)}", file=sys.stderr)
        await asyncio.sleep(random.uniform(0, min(5, 0.25 * 2**attempts)))
        attempts = min(attempts + 1, 8)
    epoch, seq, digest = replica.at
    print(f"{epoch}:{seq} {digest:032x} {len(replica.records)} {replica.snapshots} {replica.resumptions}")


asyncio.run(main())
