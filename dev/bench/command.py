#!/usr/bin/env python3
"""Times the command `hotread`, sqlite3 and, if it is installed, sqlite-utils on the same files.

    cargo build --profile dist -p hotread-cli
    dev/bench/command.py target/dist/hotread [ROUNDS]

The programs take turns in each round, every import into a new database. Cells are medians; in brackets, the
median of the ratios to HotRead within each round. Files: the ranges of `/usr/share/tor/geoip` (Debian's package
tor-geoipdb) as CSV with a header, and 1,000,000 objects as NDJSON.
"""

import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RECORDS = 1_000_000
GETS = 40
GEOIP = pathlib.Path("/usr/share/tor/geoip")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(dir=".") as folder:
        folder = pathlib.Path(folder)
        report("import of the ranges of geoip, CSV", imports(program, folder, rounds, csv(folder)))
        rows = ndjson(folder)
        report(f"import of {RECORDS:,} objects, NDJSON", imports(program, folder, rounds, rows))
        report(f"`get` of one of {RECORDS:,} records", gets(program, folder, rounds, rows))


def csv(folder):
    path = folder / "geoip.csv"
    with GEOIP.open() as source, path.open("w") as out:
        out.write("start,end,country\n")
        out.writelines(line for line in source if not line.startswith("#"))
    return path


def ndjson(folder):
    path = folder / "rows.ndjson"
    with path.open("w") as out:
        for number in range(RECORDS):
            row = {"id": f"key-{number:07}", "on": number % 2 == 0, "percent": number % 101, "name": f"name {number}"}
            out.write(json.dumps(row) + "\n")
    return path


def imports(program, folder, rounds, path):
    """Seconds of each program's import of a file into a new database."""
    key = "start" if path.suffix == ".csv" else "id"
    ways = {"HotRead": [program, "--db", "DB", "import", "t", path, "--key", key]}
    if path.suffix == ".csv":
        script = ["create table t(start text primary key, end text, country text)", ".mode csv", f".import --skip 1 {path} t"]
        ways["sqlite3 .import, with a key"] = ["sqlite3", "DB", *script]
        ways["sqlite3 .import, without one"] = ["sqlite3", "DB", ".mode csv", f".import {path} t"]
        kind = "--csv"
    else:
        kind = "--nl"
    if utils := shutil.which("sqlite-utils"):
        ways["sqlite-utils insert"] = [utils, "insert", "DB", "t", path, kind, "--pk", key]

    def once(command):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return seconds([f"{place}/a.db" if word == "DB" else word for word in command])

    return [{name: once(command) for name, command in ways.items()} for _ in range(rounds)]


def gets(program, folder, rounds, rows):
    """Seconds of a process that prints the value of one key."""
    ours, theirs, key = folder / "ours.db", folder / "theirs.db", f"key-{RECORDS // 2:07}"
    seconds([program, "--db", ours, "import", "t", rows, "--key", "id"])
    sql = "create table t(id text primary key, value text) without rowid;"
    sql += "insert into t select json_extract(value, '$.id'), value from lines;"
    subprocess.run(
        ["sqlite3", theirs, "create table lines(value text)", ".mode ascii", ".separator \\037 \\n", f".import {rows} lines", sql],
        check=True,
    )
    ways = {
        "HotRead": [program, "--db", ours, "get", "t", key],
        "sqlite3": ["sqlite3", theirs, f"select value from t where id = '{key}'"],
    }
    result = []
    for _ in range(rounds):
        times = {name: [] for name in ways}
        for _ in range(GETS):
            for name, command in ways.items():
                times[name].append(seconds(command))
        result.append({name: statistics.median(all_times) for name, all_times in times.items()})
    return result


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def report(title, rounds):
    print(f"{title}:")
    for name in rounds[0]:
        time_ms = 1e3 * statistics.median(each[name] for each in rounds)
        ratio = statistics.median(each[name] / each["HotRead"] for each in rounds)
        print(f"  {name:30}{time_ms:12,.1f} ms  ({ratio:.2f})", flush=True)


if __name__ == "__main__":
    main()
