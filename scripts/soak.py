#!/usr/bin/env python3
"""Leaves stockbench alone with a server that keeps failing, for half an hour on
PostgreSQL, MySQL and MariaDB at once, and looks at what grows: its memory, its
open files and threads, and the sessions by the server's own count. Afterwards
no process, folder or listening port may be left. Prints Markdown; ends with 1
where something grew, was left, or a run did not exit 0.

MINUTES=30 RATE=200 CLIENTS=100 scripts/soak.py
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = os.environ.get("STOCKBENCH", "target/release/stockbench")
MINUTES = float(os.environ.get("MINUTES", "30"))
RATE = os.environ.get("RATE", "200")
CLIENTS = os.environ.get("CLIENTS", "100")
CONNECTIONS = int(os.environ.get("CONNECTIONS", "20"))
# The run's own beside its clients': its lock, its watch, the audit's.
SPARE = 8
EVERY_S = 10
SERVERS = {"postgres": "idempotent", "mysql": "atomic", "mariadb": "optimistic"}
FAULTS = [
    "kill-server@20s/60s",
    "pause-server@35s/60s:2s",
    "lock-rows@45s/60s:1s",
    "take-connections@50s/60s:2s",
    "end-session@1s/500ms",
    "cut-before@*:1%",
    "cut-during@*:1%",
    "cut-after@*:1%",
    "lose@*:1%",
]


def started(pid):
    """When a process started, in the system's own count; None if there is none. Its number alone may be another's by now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


class Soak:
    """One run, and what was seen of it from outside."""

    def __init__(self, server, strategy, folder):
        self.server, self.strategy = server, strategy
        self.folder = folder / server
        self.folder.mkdir()
        # The servers have users of their own, and their folders in here.
        self.folder.chmod(0o1777)
        self.report = self.folder / "report.json"
        faults = [word for fault in FAULTS for word in ("--fault", fault)]
        load = ["-c", CLIENTS, "--connections", str(CONNECTIONS), "-r", RATE, "-d", f"{MINUTES * 60:.0f}s", "--skus", "200", "--stock", "1000000"]
        self.errors = (self.folder / "errors").open("w+")
        self.process = subprocess.Popen(
            [BIN, "run", "--lab", server, "-s", strategy, *load, *faults, "--json", str(self.report)],
            env={**os.environ, "TMPDIR": str(self.folder)},
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
        )
        self.samples = []
        self.ports = set()
        self.servers = set()

    def sample(self):
        """Memory in MiB, open files, threads, and the server's count of sessions."""
        proc = Path(f"/proc/{self.process.pid}")
        try:
            status = (proc / "status").read_text()
            files = len(list((proc / "fd").iterdir()))
        except OSError:
            return
        # Its own: how much of the binary is in memory is the system's affair.
        resident = re.search(r"RssAnon:\s+(\d+)", status)
        threads = re.search(r"Threads:\s+(\d+)", status)
        if resident is None:
            return
        sessions = self.sessions()
        self.samples.append((int(resident[1]) / 1024, files, int(threads[1]), sessions))

    def sessions(self):
        """As the server counts them; None while it cannot be asked."""
        try:
            lab = next(self.folder.glob("stockbench-lab-*"))
            script = (lab / "start.sh").read_text()
            port = re.search(r"port=(\d+)", script)[1]
            self.ports.add(int(port))
            pid = int((lab / "server.pid").read_text())
            self.servers.add((pid, started(pid)))
            if self.server == "postgres":
                secret = {"PGPASSWORD": (lab / "password").read_text(), "PGCONNECT_TIMEOUT": "2"}
                query = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
                command = ["psql", "-h", "127.0.0.1", "-p", port, "-U", "stockbench", "-Atc", query]
            else:
                secret = {"MYSQL_PWD": re.search(r"BY '(\w+)'", (lab / "init.sql").read_text())[1]}
                query = "SELECT COUNT(*) - 1 FROM information_schema.processlist WHERE user = 'stockbench'"
                command = ["mariadb", "-h", "127.0.0.1", "-P", port, "-u", "stockbench", "--skip-ssl"]
                command += ["--connect-timeout=2", "-BNe", query]
            asked = subprocess.run(
                command, env={**os.environ, **secret}, capture_output=True, text=True, timeout=5, check=True
            )
            return int(asked.stdout)
        except (OSError, StopIteration, TypeError, AttributeError, subprocess.SubprocessError, ValueError):
            return None

    def fifths(self, column, of=statistics.median):
        """The median of each fifth of the time, or what else is asked of it."""
        known = [sample[column] for sample in self.samples if sample[column] is not None]
        length = len(known) / 5
        parts = [known[int(fifth * length) : int((fifth + 1) * length)] for fifth in range(5)]
        return [of(part) if part else float("nan") for part in parts]

    def verdict(self):
        """The row of the table, and what is wrong."""
        wrong = []
        if self.process.returncode != 0:
            self.errors.seek(0)
            wrong.append(f"exit {self.process.returncode}: {self.errors.read().strip()[-300:]}")
        report = json.loads(self.report.read_text()) if self.report.exists() else {}
        cells = []
        memory, files, threads, sessions = (self.fifths(column) for column in range(4))
        least = self.fifths(0, min)
        for fifths in (memory, least, files, threads, sessions):
            cells.append(" · ".join(f"{middle:.0f}" for middle in fifths))
        # The way up (pools open, histograms take their place) is in the first fifth. What
        # waits behind a server that is away takes room for a while and gives it back: what
        # is lost for good raises the least of a fifth.
        if not least[-1] <= least[1] * 1.15:
            wrong.append(f"memory grew from {least[1]:.0f} to {least[-1]:.0f} MiB")
        # What was cut is opened again when it is asked for: more in a busy hour, never
        # more than there may be, each with two sockets of the relay and one of its own.
        for name, fifths, most in (
            ("threads", threads, threads[0]),
            ("sessions", sessions, CONNECTIONS + SPARE),
            ("open files", files, 3 * (CONNECTIONS + SPARE) + 32),
        ):
            if not max(fifths) <= most:
                wrong.append(f"{max(fifths):.0f} {name} are more than {most:.0f}")
        for port in self.ports:
            if subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True).stdout:
                wrong.append(f"port {port} is still listened on")
        wrong += [f"server process {pid} is left" for pid, when in self.servers if when and started(pid) == when]
        wrong += [f"{left} is left" for left in self.folder.glob("stockbench-lab-*")]
        told = report.get("outcomes", {})
        audit = report.get("audit") or {}
        struck = {}
        for mark in report.get("faults", []):
            struck[mark["fault"]] = struck.get(mark["fault"], 0) + 1
        database = report.get("database", {}).get("version", "?").split()[0]
        return (
            f"| {self.server} {database} | `{self.strategy}` | {told.get('deducted', 0):,} | {told.get('unknown', 0):,} "
            f"| {struck.get('kill-server', 0)} | {sum(struck.values()) - struck.get('kill-server', 0):,} "
            f"| {' | '.join(cells)} | {'passed' if audit.get('passed') else 'FAILED'} |"
        ), wrong


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        soaks = [Soak(server, strategy, Path(folder)) for server, strategy in SERVERS.items()]
        try:
            while any(soak.process.poll() is None for soak in soaks):
                time.sleep(EVERY_S)
                for soak in soaks:
                    soak.sample()
        except BaseException:
            for soak in soaks:
                if soak.process.poll() is None:
                    soak.process.send_signal(signal.SIGINT)
                    soak.process.wait()
            raise
        print("| server | strategy | sold | answers lost | kills | other timed faults | memory, MiB | at least | open files | threads | sessions | audit |")
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
        wrong = []
        for soak in soaks:
            row, of_soak = soak.verdict()
            print(row)
            wrong += [f"{soak.server}: {what}" for what in of_soak]
        for what in wrong:
            print(what, file=sys.stderr)
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
