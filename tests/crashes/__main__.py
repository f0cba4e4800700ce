"""
`make crashes`: kills processes at every point of every scenario, on both stores and all cores, and says what came of
it.

    python -m tests.crashes [--store sqlite] [--scenario NAME ...] [--nth 1,2,-1] [--once]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crashes import points
from tests.crashes.scenarios import SCENARIOS
from tests.places import in_memory
from tests.postgres.cluster import Cluster

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-u", str(Path(__file__).with_name("sweep.py"))]
KINDS = {
    "sqlite": ("engine", "verb", "sqlite", "file"),
    "postgres": ("engine", "verb", "postgres"),
}
UNREACHED = {
    "sqlite": {"_apply", "_apply_layer", "_apply_outside", "check", "tidy"},
    "postgres": {"connect", "make_folder", "tidy"},
}
"""What the other store has; and a vacuum, which is made when there is much to clear away, and changes nothing."""


class Sweeps:
    """So many at a time on one store, each with a part of the points."""

    def __init__(self, store: str, folder: Path, urls: list[str], arguments: list[str]) -> None:
        self.store = store
        self.kills: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(folder / f"{n}", url, [*arguments, f"--part={n}/{len(urls)}"]))
            for n, url in enumerate(urls)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, folder: Path, url: str, arguments: list[str]) -> None:
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
        command = [*PROGRAM, str(folder), url, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.kills.append(json.loads(line))
        if process.returncode:
            self.failed.append(f"{self.store}: it ended with {process.returncode}: {' '.join(command)}")

    def wait(self, began: float) -> None:
        while any(thread.is_alive() for thread in self._threads):
            for thread in self._threads:
                thread.join(1)
            self.show(began)
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def show(self, began: float) -> None:
        if sys.stderr.isatty() and self.kills:
            last, wrong = self.kills[-1], sum(bool(kill["wrong"]) for kill in self.kills)
            said = f"{self.store}: {len(self.kills)} kills in {time.monotonic() - began:.0f} s, {wrong} not clean"
            print(f"\r\033[K{said}; {last['scenario']}"[:120], end="", file=sys.stderr, flush=True)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def table(self) -> None:
        kinds = KINDS[self.store]
        print(
            f"\n{self.store:20}" + "".join(f"{kind:>10}" for kind in (*kinds, "points", "kills", "clean", "passed by"))
        )
        for name in [*dict.fromkeys(kill["scenario"] for kill in self.kills), ""]:
            kills = [kill for kill in self.kills if not name or kill["scenario"] == name]
            reached = {(kill["scenario"], kill["point"]) for kill in kills if kill["reached"]}
            by_kind = Counter(point.partition(":")[0] for _, point in reached)
            done = sum(kill["reached"] for kill in kills)
            clean = sum(kill["reached"] and not kill["wrong"] for kill in kills)
            row = (*(by_kind[kind] for kind in kinds), len(reached), done, clean, len(kills) - done)
            print(f"{name or 'all':20}" + "".join(f"{number:>10}" for number in row))

    def findings(self, *, whole: bool) -> Iterator[str]:
        yield from self.failed
        for kill in self.kills:
            if kill["wrong"]:
                yield f"{self.store}: {kill['scenario']}, killed at {kill['point']} ({kill['nth']}): {kill['wrong']}"
        if whole:
            reached = {kill["point"] for kill in self.kills if kill["reached"]}
            names = {f"engine: {name}" for each in points.STEPS.values() for name in each}
            names |= {f"verb: {verb}" for verb in points.VERBS}
            for name in sorted(names):
                if f"{name}: begins" not in reached and name.split(": ")[1] not in UNREACHED[self.store]:
                    yield f"{self.store}: no scenario has reached {name}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crashes")
    parser.add_argument("--store", choices=list(KINDS), help="default: both")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--nth", default="1", help="when it comes by for the first time (1), the last (-1), ...")
    parser.add_argument("--once", action="store_true", help="each point in the first scenario that reaches it")
    given = parser.parse_args()
    arguments = [f"--nth={given.nth}", *(f"--scenario={name}" for name in given.scenario or ())]
    arguments += ["--once"] if given.once else []
    found: list[str] = []
    for store in [given.store] if given.store else KINDS:
        with tempfile.TemporaryDirectory(dir=in_memory()) as folder, databases(store) as urls:
            sweeps = Sweeps(store, Path(folder), urls, arguments)
            sweeps.wait(time.monotonic())
        sweeps.table()
        found += sweeps.findings(whole=not given.scenario)
    for finding in found:
        print(f"\n{finding}")
    print(f"\n{len(found)} finding(s)" if found else "\nall clean")
    return bool(found)


@contextlib.contextmanager
def databases(store: str) -> Iterator[list[str]]:
    """One for each core."""
    cores = range(max(1, os.cpu_count() or 1))
    if store == "sqlite":
        yield ["sqlite:///" for _ in cores]
        return
    os.environ.setdefault("PGSSLMODE", "disable")
    with Cluster({"max_connections": 200}, below=in_memory()) as cluster:
        yield [cluster.create_database(f"crashes_{n}") for n in cores]


if __name__ == "__main__":
    sys.exit(main())
