// A replica in JavaScript, written from docs/wire.md alone.
//
//     node follow.cjs URL TABLE UNTIL [--token TOKEN] [--ca FILE] [--cert FILE --key FILE]
//
// Like follow.py, except that JSON.parse does not return the text of values, so item hashes
// are summed but not checked, as the document allows.

const fs = require('node:fs');
const { parseArgs } = require('node:util');
const WebSocket = require('ws');

const { values: { token, ca, cert, key }, positionals: [address, table, until] } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(['token', 'ca', 'cert', 'key'].map((name) => [name, { type: 'string' }])),
});
// The schemes are http and ws, or https and wss.
const url = address.replace(/^http/, 'ws');
// Verifies the certificate and its name; without a file, by the authorities that Node.js has.
const read = ([name, file]) => [name, file && fs.readFileSync(file)];
const tls = Object.fromEntries(Object.entries({ ca, cert, key }).map(read));
const UNTIL = BigInt(until);
const MASK = (1n << 128n) - 1n;
const MAX_FRAME = 2 << 20;

const hex = (text) => BigInt('0x' + text);
let records = new Map(); // key: hash
let at = null; // { epoch, seq, digest }
let snapshots = 0;
let resumptions = 0;
let attempts = 0;

class GivenUp extends Error {
  constructor(why, damaged = false) {
    super(why);
    this.damaged = damaged;
  }
}

function need(holds, why, damaged) {
  if (!holds) throw new GivenUp(why, damaged);
}

// Sequence numbers are 64 bits wide; JSON.parse has 53.
const seq = (number) => {
  need(Number.isSafeInteger(number), 'a number beyond 2^53, which this client does not read');
  return BigInt(number);
};

function apply(map, ops) {
  for (const op of ops) {
    if (op.put) map.set(op.put.key, hex(op.put.h));
    else map.delete(op.delete.key);
  }
}

const sum = (map) => [...map.values()].reduce((total, h) => (total + h) & MASK, 0n);

function session() {
  return new Promise((resolve, reject) => {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const socket = new WebSocket(`${url}/v1/tables/${table}/sync`, ['hotread.v1+json'], {
      headers, maxPayload: MAX_FRAME, perMessageDeflate: false, handshakeTimeout: 10_000, ...tls,
    });
    let welcomed = false, epoch, staged = null, stagedTo = null, parts = 0, pieces = [];
    let pings = 0, pinging, silence, acked = 0n;
    const end = (done, value) => {
      clearInterval(pinging);
      clearTimeout(silence);
      socket.terminate();
      done(value);
    };
    const listen = (patience) => {
      clearTimeout(silence);
      silence = setTimeout(() => end(reject, new GivenUp('the server fell silent')), patience);
    };
    const send = (frame) => socket.send(JSON.stringify(frame));
    let patience = 10_000;

    const frames = {
      welcome(frame) {
        need(!welcomed && frame.v === 1, 'a welcome out of turn');
        welcomed = true;
        epoch = frame.epoch;
        const heartbeat = Math.min(Math.max(frame.heartbeat_ms, 10), 60_000);
        patience = 3 * heartbeat;
        if (frame.mode === 'snapshot') {
          staged = new Map();
          snapshots += 1;
        } else {
          need(at && at.epoch === epoch && at.seq === seq(frame.seq), 'resumed elsewhere');
          resumptions += 1;
        }
        const ping = () => send({ ping: { n: ++pings } });
        ping();
        pinging = setInterval(ping, heartbeat);
      },
      snapshot(frame) {
        need(staged && stagedTo === null, 'a part out of turn');
        need(frame.part === ++parts, 'a part is missing');
        for (const record of frame.records) {
          need(!staged.has(record.key), 'a key comes twice');
          staged.set(record.key, hex(record.h));
        }
      },
      txn(frame) {
        const [from, to] = [seq(frame.from), seq(frame.to)];
        for (const op of frame.ops) {
          need(op.put || op.delete, 'an operation of no known kind');
          if (op.put) need(seq(op.put.seq) >= from && seq(op.put.seq) <= to, 'a seq is wrong', true);
        }
        if (pieces.length) {
          const same = ['from', 'to', 'digest', 'count'].every((k) => pieces[0][k] === frame[k]);
          need(same, 'pieces are mixed');
        }
        pieces.push(frame);
        if (frame.more) return;
        const ops = pieces.flatMap((piece) => piece.ops);
        pieces = [];
        if (staged) {
          need(stagedTo === null || from === stagedTo + 1n, 'a gap');
          stagedTo = to;
          apply(staged, ops);
          return;
        }
        need(from === at.seq + 1n, 'a gap');
        let digest = at.digest;
        for (const op of ops) {
          digest -= records.get((op.put ?? op.delete).key) ?? 0n;
          if (op.put) digest += hex(op.put.h);
        }
        digest = ((digest % (MASK + 1n)) + MASK + 1n) & MASK;
        apply(records, ops);
        const good = digest === hex(frame.digest) && records.size === frame.count;
        need(good, 'the digest after a transaction is wrong', true);
        at = { epoch, seq: to, digest };
      },
      snapshot_end(frame) {
        need(staged && (stagedTo === null || stagedTo === seq(frame.at)), 'a snapshot ends elsewhere');
        const digest = sum(staged);
        const good = digest === hex(frame.digest) && staged.size === frame.count;
        need(good, 'the digest of a snapshot is wrong', true);
        records = staged;
        staged = null;
        at = { epoch, seq: seq(frame.at), digest };
      },
      heartbeat(frame) {
        if (staged) return;
        need(seq(frame.at) === at.seq, 'the server believes us elsewhere');
        need(hex(frame.digest) === at.digest, 'the digest differs', true);
      },
      pong() {},
      reset(frame) { throw new GivenUp(frame.reason); },
      goodbye(frame) { throw new GivenUp(frame.reason); },
      error(frame) { throw new GivenUp(frame.message); },
    };

    listen(patience);
    socket.on('open', () => {
      if (socket.protocol !== 'hotread.v1+json') return end(reject, new GivenUp('another subprotocol'));
      const hello = { v: 1, name: 'node', coalesce: true };
      if (at) {
        const digest = at.digest.toString(16).padStart(32, '0');
        hello.from = { epoch: at.epoch, seq: Number(at.seq), digest };
      }
      send({ hello });
    });
    socket.on('message', (data, binary) => {
      try {
        need(!binary, 'a binary message');
        for (const [kind, body] of Object.entries(JSON.parse(data.toString()))) {
          if (!Object.hasOwn(frames, kind)) continue;
          need(welcomed || ['welcome', 'reset', 'goodbye', 'error'].includes(kind), 'no welcome');
          frames[kind](body);
        }
        listen(patience);
        if (!welcomed || staged) return;
        const done = at.seq >= UNTIL;
        if (done || at.seq >= acked + 50n) {
          acked = at.seq;
          send({ ack: { seq: Number(at.seq) } });
        }
        if (done) end(resolve);
      } catch (error) {
        end(reject, error);
      }
    });
    socket.on('error', (error) => end(reject, error));
    socket.on('unexpected-response', (_, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => { body += text; });
      response.on('end', () => {
        let why;
        try {
          why = JSON.parse(body).message;
        } catch { /* another program's answer */ }
        end(reject, new GivenUp(why ?? `the answer is ${response.statusCode}`));
      });
    });
    socket.on('close', () => end(reject, new GivenUp('the connection was closed')));
  });
}

async function main() {
  for (;;) {
    try {
      await session();
      break;
    } catch (error) {
      console.error(error.message);
      if (error.damaged) process.exit(1);
    }
    const wait = Math.random() * Math.min(5_000, 250 * 2 ** attempts);
    await new Promise((resolve) => setTimeout(resolve, wait));
    attempts = Math.min(attempts + 1, 8);
  }
  const digest = at.digest.toString(16).padStart(32, '0');
  console.log(`${at.epoch}:${at.seq} ${digest} ${records.size} ${snapshots} ${resumptions}`);
}

main();
