"""
Kills processes at points, and looks what becomes of it. This process does nothing itself: whatever happens does so in
forks of it, so that one that is killed, and the next, begin at once.

    python sweep.py FOLDER URL [--scenario NAME ...] [--nth 1,2,-1] [--part 0/1] [--once] [--at POINT | --sample SEED]
    python sweep.py FOLDER URL --points | --planted

Of each kill it prints a line of JSON: scenario, point, at which time it was reached, whether it was, and what is wrong.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fanwood import Fanwood
from tests.crashes import checks, points
from tests.crashes.planted import PLANTED
from tests.crashes.scenarios import SCENARIOS, Ground, Scenario, resume
from tests.postgres.databases import emptied

HANGS = 120.0
WARM = ("fanwood.cli.doctor", "fanwood.cli.db", "fanwood.cli.commands.doctor", "fanwood.engine.engine",
        "fanwood.worker.local", "fanwood.worker.worker", "fanwood.store.sqlite.store", "fanwood.store.postgres.store",
        "asyncpg", "uvloop", "pydantic.main", "pydantic.json_schema", "zoneinfo", "encodings.ascii")  # fmt: skip
TRIES = 4
"""How often a point that was reached once is tried, before it is said that it was not reached."""


class BesideError(Exception):
    """Who lived has not done what he was to do."""


class Stage:
    """One database after the other, for one scenario."""

    def __init__(self, folder: Path, url: str, scene: Scenario, plant: Callable[[], None] | None = None) -> None:
        self.folder, self.url, self.scene, self.plant = folder, url, scene, plant
        self.embedded = url.startswith("sqlite")
        self.log = folder / "log"
        self._number = 0
        self._model = folder / f"{scene.name} before"
        if self.embedded and not scene.empty:
            self._model.mkdir(parents=True, exist_ok=True)
            self._prepare(self._ground(self._model))

    def _ground(self, folder: Path) -> Ground:
        ours = f"sqlite:///{folder}/fanwood.db" if self.embedded else self.url
        file = f"sqlite:///{folder}/other.db"
        if self.scene.copies and not self.embedded:  # into the server, then
            return Ground(folder, file, self.url)
        return Ground(folder, ours, file)

    def _prepare(self, ground: Ground) -> None:
        def prepare() -> None:
            if not self.embedded:
                emptied(self.url, schema=not (self.scene.empty or self.scene.changes_schema))
            if not self.scene.empty:
                with Fanwood(ground.url, local_worker=False, shared=False) as app:
                    app.engine()
            if self.scene.before is not None:
                self.scene.before(ground)

        assert self.fork(prepare) == 0, self.log.read_text()

    def fresh(self) -> Ground:
        self._number += 1
        folder = self.folder / f"{self.scene.name} {self._number}"
        if self._model.exists():
            shutil.copytree(self._model, folder)
            journal = folder / "journal"
            journal.unlink(missing_ok=True)
            return self._ground(folder)
        folder.mkdir()
        ground = self._ground(folder)
        if not self.embedded:
            self._prepare(ground)
            (folder / "journal").unlink(missing_ok=True)
        return ground

    def close(self) -> None:
        """The next one finds what it can begin with."""
        if self.scene.changes_schema and not self.embedded:
            self.fork(lambda: emptied(self.url, schema=False))

    def fork(self, work: Callable[[], None]) -> int:
        """Do it in a process of its own; how that ended."""
        return _ended(self._begin(work, self.log))

    def _begin(self, work: Callable[[], None], log: Path) -> int:
        sys.stdout.flush()
        if not (pid := os.fork()):
            try:
                number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
                os.dup2(number, 1)
                os.dup2(number, 2)
                signal.alarm(round(HANGS))
                work()
                os._exit(0)
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(1)
        return pid

    # --- one life ----------------------------------------------------------------------------------------------------

    def live(self, ground: Ground, hit: points.Hit, at_end: Callable[[], None] = lambda: None) -> int:
        def act() -> None:
            self.scene.prepared()
            if self.plant is not None:
                self.plant()
            points.put(hit)
            self.scene.act(ground)
            at_end()

        if not self.scene.beside:
            return self.fork(act)
        log = self.log.with_name("log beside")
        other = self._begin(lambda: self.scene.act(ground), log)
        status = self.fork(act)
        if _ended(other):
            raise BesideError(log.read_text(errors="replace")[-3000:])
        return status

    def recorded(self) -> Counter[str]:
        """All points that it comes by, and how often."""
        ground, hits = self.fresh(), Counter[str]()

        def write() -> None:
            (ground.folder / "hits").write_text(json.dumps(hits))

        assert self.live(ground, lambda name: hits.update([name]), write) == 0, self.log.read_text()
        found = Counter[str](json.loads((ground.folder / "hits").read_text()))
        shutil.rmtree(ground.folder)
        return found

    def killed_when(self, is_time: Callable[[str, int, int], bool]) -> dict[str, Any]:
        """Kill it when that says so of a point, how often it was met, and how many were; and what is wrong then."""
        ground, hits, began = self.fresh(), Counter[str](), time.monotonic()

        def hit(name: str) -> None:
            hits[name] += 1
            if is_time(name, hits[name], hits.total()):
                ground.note("killed", name, hits[name])
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            status, wrong = self.live(ground, hit), ""
        except BesideError as error:
            status, wrong = 0, f"the one beside it failed: {error}"
        where = [line[1:] for line in checks.journal(ground) if line[0] == "killed"]
        if status not in {0, -signal.SIGKILL}:
            wrong = f"it ended by itself ({status}): {self._said()}"
        if not wrong and self.fork(lambda: self._go_on(ground)):
            wrong = self._said()
        if not wrong:
            shutil.rmtree(ground.folder)
        point, nth = where[0] if where else ("", 0)
        took = round(time.monotonic() - began, 3)
        return {"scenario": self.scene.name, "point": point, "nth": nth, "wrong": wrong, "seconds": took}

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def _go_on(self, ground: Ground) -> None:
        """The next process."""
        scene, url = self.scene, ground.other if self.scene.copies else ground.url
        lines = len(checks.journal(ground))
        with checks.Reader(url) as sql:
            done = checks.completed(sql)
            _refuse(checks.at_any_time(sql))
        scene.prepared()
        scene.act(ground)
        resume(ground, scene)
        with checks.Reader(url) as sql:
            _refuse(checks.at_any_time(sql))
            _refuse(checks.when_all_is_over(sql))
            _refuse(checks.history(ground, scene, sql, done, lines))
        if not scene.spoilt:
            checks.doctor(ground, url)


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _refuse(findings: Iterable[str]) -> None:
    found = list(findings)
    assert not found, "\n".join(found)


# --- what is killed where --------------------------------------------------------------------------------------------


def everywhere(stage: Stage, which: list[int], part: tuple[int, int], known: set[str]) -> Iterator[dict[str, Any]]:
    """At each point that it reaches and that is not known, the first time, the last, or another."""
    points = stage.recorded()
    for point in known & points.keys():
        del points[point]
    known.update(points)
    wanted = [
        (point, nth)
        for point, count in sorted(points.items())
        for nth in sorted({min(n, count) if n > 0 else max(1, count + 1 + n) for n in which})
    ]
    for point, nth in wanted[part[0] :: part[1]]:
        yield from at_point(stage, point, nth)


def at_point(stage: Stage, point: str, nth: int) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    for _ in range(TRIES):
        found = stage.killed_when(lambda name, count, _, at=(point, nth): (name, count) == at)
        if found["point"] or found["wrong"]:
            break
        nth = max(1, nth - 1)  # how often it comes by depends on who is quicker
    yield {**found, "point": point, "reached": bool(found["point"])}


def somewhere(stage: Stage, dice: random.Random) -> Iterator[dict[str, Any]]:
    """At one of its first points; at an earlier one, if there are not so many."""
    number = dice.randint(1, 400)
    while True:
        found = stage.killed_when(lambda _, __, total, at=number: total == at)
        if found["point"] or found["wrong"] or number <= 1:
            break
        number //= 2
    yield {**found, "reached": bool(found["point"])}


def warm() -> None:
    """What forks would import, each for itself."""
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()


def planted(folder: Path, url: str) -> Iterator[dict[str, Any]]:
    """Where each mistake shows."""
    for mistake in PLANTED:
        stage = Stage(folder / mistake.plant.__name__, url, SCENARIOS[mistake.scenario], mistake.plant)
        yield from ({"seen": mistake.seen, **kill} for kill in at_point(stage, mistake.point, 1))


def kills(stage: Stage, given: Any, known: set[str]) -> Iterable[dict[str, Any]]:
    if given.points:
        return [{"scenario": stage.scene.name, "points": stage.recorded()}]
    if given.sample is not None:
        return somewhere(stage, random.Random(f"{given.sample} {stage.scene.name}"))
    which, (first, of) = [int(n) for n in given.nth.split(",")], map(int, given.part.split("/"))
    if given.at:
        return (kill for nth in which for kill in at_point(stage, given.at, nth))
    return everywhere(stage, which, (first, of), known if given.once else set())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--nth", default="1")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--once", action="store_true", help="each point in the first scenario that reaches it")
    parser.add_argument("--at", help="one point")
    parser.add_argument("--planted", action="store_true", help="with mistakes, which are to be seen")
    parser.add_argument("--points", action="store_true", help="say which it comes by, and kill nothing")
    given = parser.parse_args()
    warm()
    if given.planted:
        for kill in planted(given.folder, given.url):
            print(json.dumps(kill), flush=True)
        return
    known: set[str] = set()
    for name in given.scenario or SCENARIOS:
        stage = Stage(given.folder, given.url, SCENARIOS[name])
        for kill in kills(stage, given, known):
            print(json.dumps(kill), flush=True)
        stage.close()


if __name__ == "__main__":
    main()
