#!/usr/bin/env python3
"""Runs the strategies, the scenarios, the explorations and the audits on every version of every
database, and writes docs/versions.md.

    scripts/versions.py [SERVER...] [SUITE...]

A server is written as for --lab: postgres@18. With servers or suites named, only these are run, and
the page keeps what was seen of the others (in target/versions). Exits with 1 if a suite failed, a
server is missing, or two versions differ in a way that nobody has explained here.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "target" / "versions"
PAGE = ROOT / "docs" / "versions.md"
CARGO = os.environ.get("CARGO", "cargo")

SERVERS = [
    "postgres@15",
    "postgres@16",
    "postgres@17",
    "postgres@18",
    "mysql@9.7",
    "mariadb@10.11",
    "mariadb@11.8",
    "sqlite",
]

# By the words of --lab: how the catalogue and the explorations head its columns.
TITLES = {
    "postgres": ("PostgreSQL", "Postgres"),
    "mysql": ("MySQL", "MySql"),
    "mariadb": ("MariaDB", "MariaDb"),
    "sqlite": ("SQLite", "Sqlite"),
}

SUITES = {
    "strategies": ["catalogue::every_strategy_is_judged_as_its_file_says"],
    "scenarios": ["catalogue::every_scenario_comes_out_as_it_says"],
    "explorations": ["explorations::every_strategy_breaks_where_it_is_unsafe_and_nowhere_else"],
    "audits": ["audits::", "tables::"],
}

# Left to the ordinary tests: it needs pg_basebackup, which the further versions come without.
NOT_HERE = "tables::standby::"

# What may differ between versions, and why. What a version must come to is in the files of the
# strategies and scenarios ([expect]); every difference needs a sentence here.
WHY = {
    (
        "naive-tx",
        "cas-in-tx",
        "redis-lock",
        "redis-lock-write-fence",
        "isolation-trap",
        "redis-lock-expiry",
    ): (
        "MariaDB has `innodb_snapshot_isolation` on by default from 11.6: at REPEATABLE READ it refuses "
        "(1020) to write a row that has changed since the transaction's snapshot, and the order is tried "
        "again. So nothing is oversold, no loop repeats a stale value, and whoever comes back after its "
        "lock in Redis has expired cannot overwrite what was sold meanwhile."
    ),
}
EXPLAINED = {name for names in WHY for name in names}


def build():
    """The tests and the program, as built from the sources."""
    command = [CARGO, "test", "--test", "it", "--no-run", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    built = {}
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            built[message["target"]["name"]] = message["executable"]
    return built["it"], built["stockbench"]


def version_of(program, server):
    """What the server says of itself."""
    # Without a server it is SQLite, in a file of this folder.
    lab = [] if server == "sqlite" else ["--lab", server]
    command = [program, "run", "-n", "10", "-o", "json", *lab]
    environment = {"STOCKBENCH_DEPS": str(ROOT / ".deps"), **os.environ}
    environment.pop("DATABASE_URL", None)
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr.strip().splitlines()[-1])
    return json.loads(run.stdout)["database"]["version"]


def run_suite(tests, server, suite):
    """Runs a suite; how it ended, how many tests it had and how long it took."""
    folder = KEPT / server
    kind = server.split("@")[0]
    others = [word for other in TITLES if other != kind for word in ("--skip", f"::{other}::")]
    environment = {
        **os.environ,
        "STOCKBENCH_LABS": server,
        "STOCKBENCH_REQUIRE_SERVERS": "1",
        "STOCKBENCH_WRITE_CATALOGUE": str(folder),
        "STOCKBENCH_WRITE_EXPLORE_MATRIX": str(folder / "explorations.md"),
    }

    started = time.monotonic()
    log = folder / f"{suite}.log"
    with log.open("w") as output:
        run = subprocess.run(
            [tests, *SUITES[suite], "--skip", NOT_HERE, *others],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    took = round(time.monotonic() - started)

    passed = re.search(r"(\d+) passed", log.read_text(errors="replace"))
    return {"passed": run.returncode == 0, "tests": int(passed[1]) if passed else 0, "seconds": took}


def run_server(tests, program, server, suites):
    """Runs suites on a server and keeps what came of them."""
    folder = KEPT / server
    folder.mkdir(parents=True, exist_ok=True)
    result = result_of(server) or {"suites": {}}
    version = version_of(program, server)
    if result.get("version") != version:
        # What was seen of another version says nothing of this one.
        result = {"version": version, "suites": {}}
    result["date"] = str(datetime.date.today())

    for suite in suites:
        print(f"{server}: {suite}", file=sys.stderr, flush=True)
        (folder / f"{suite}.md").unlink(missing_ok=True)
        result["suites"][suite] = run_suite(tests, server, suite)
        (folder / "result.json").write_text(json.dumps(result, indent=2))


def result_of(server):
    path = KEPT / server / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def cells(server, suite):
    """The outcomes of a suite on a server by row and column, without what may vary from run to run."""
    path = KEPT / server / f"{suite}.md"
    if not path.exists() or suite not in result_of(server)["suites"]:
        return {}
    titles = TITLES[server.split("@")[0]]
    lines = [line.strip("|").split("|") for line in path.read_text().splitlines() if line.startswith("|")]
    head, rows = [cell.strip() for cell in lines[0]], lines[2:]

    outcomes = {}
    for row in rows:
        for title, cell in zip(head[1:], row[1:]):
            if not title.startswith(titles):
                continue
            # Other findings beside the main one, runs until it was caught, schedules played.
            outcome = re.sub(r" \(also [^)]*\)|, in run \d+| \d+\+\d+", "", cell.strip())
            outcomes[row[0].strip(), title] = outcome
    return outcomes


def cell(server, suite):
    """One cell of the page."""
    result = result_of(server)
    ran = result and result["suites"].get(suite)
    if not ran:
        return "not run"
    outcomes = cells(server, suite)
    shown = [outcome for outcome in outcomes.values() if outcome != "–"]
    failed = [row for (row, _), outcome in outcomes.items() if outcome.startswith("✗")]
    count = f"{len(shown)} cells" if outcomes else f"{ran['tests']} tests"
    if ran["passed"]:
        return f"✓ {count}"
    return "✗ " + (", ".join(failed) or f"see target/versions/{server}/{suite}.log")


def differences():
    """Where versions of one database differ: suite, row, column, and the outcome on each."""
    found = []
    for kind in TITLES:
        versions = [server for server in SERVERS if server.split("@")[0] == kind and result_of(server)]
        for suite in SUITES:
            by_version = {server: cells(server, suite) for server in versions}
            by_version = {server: outcomes for server, outcomes in by_version.items() if outcomes}
            for row, column in sorted({key for outcomes in by_version.values() for key in outcomes}):
                here = {
                    server: outcomes[row, column]
                    for server, outcomes in by_version.items()
                    if (row, column) in outcomes
                }
                if len(set(here.values())) > 1:
                    found.append((suite, row, column, here))
    return found


def page(found):
    lines = [
        "# Every version",
        "",
        "Written by `make versions`: every strategy with the load of its own file, every scenario, every",
        "interleaving of two clients at every isolation level, and the audits of damaged, odd and sound",
        "shops, on every version. ✓: as the files of the strategies and scenarios say. The explorations of",
        "MariaDB have its snapshot isolation off and on, whichever is the version's default. The audit of a",
        "standby is not here: it needs `pg_basebackup`, which PostgreSQL 16, 17 and 18 come without.",
        "",
        "| database | version | run on | " + " | ".join(SUITES) + " | time |",
        "|---|---|---|" + "---|" * (len(SUITES) + 1),
    ]
    for server in SERVERS:
        result = result_of(server) or {"version": "–", "date": "–", "suites": {}}
        minutes = sum(suite["seconds"] for suite in result["suites"].values()) / 60
        row = [f"`{server}`", result["version"], result["date"]]
        row += [cell(server, suite) for suite in SUITES]
        lines.append("| " + " | ".join(row) + f" | {minutes:.0f} min |")

    lines += ["", "## What differs between versions", ""]
    if not found:
        lines.append("Nothing.")
    else:
        lines += ["| suite | what | where | outcome |", "|---|---|---|---|"]
        for suite, row, column, here in found:
            outcome = "; ".join(f"{server}: {outcome}" for server, outcome in here.items())
            lines.append(f"| {suite} | {row} | {column} | {outcome} |")
    lines += ["", "## Why", ""]
    for names, why in WHY.items():
        lines.append(f"- {', '.join(f'`{name}`' for name in names)}: {why}")
    PAGE.write_text("\n".join(lines) + "\n")


def main():
    unknown = [word for word in sys.argv[1:] if word not in [*SERVERS, *SUITES]]
    if unknown:
        sys.exit(f"scripts/versions.py: {unknown[0]} is none of {', '.join([*SERVERS, *SUITES])}")
    servers = [word for word in sys.argv[1:] if word in SERVERS] or SERVERS
    suites = [word for word in sys.argv[1:] if word in SUITES] or list(SUITES)

    tests, program = build()
    for server in servers:
        run_server(tests, program, server, suites)

    found = differences()
    page(found)

    failed = [
        f"{server}: {suite} failed"
        for server in servers
        for suite, ran in result_of(server)["suites"].items()
        if suite in suites and not ran["passed"]
    ]
    unexplained = [
        f"{suite}: {row} differs between versions and nobody says why"
        for suite, row, _, _ in found
        if re.match(r"`([^` ]+)", row)[1] not in EXPLAINED
    ]
    if failed or unexplained:
        sys.exit("\n".join(failed + unexplained))


if __name__ == "__main__":
    main()
