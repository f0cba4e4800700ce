"""`python -m benchmarks.soak`: trees for many minutes, with retention, and a look whether anything grows.

First it searches the rate that the machine can keep (or that was asked for). Then it settles: the first old trees are
deleted, the first vacuums come. What is judged is the steady time after that.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import soak_report
from benchmarks.databases import POSTGRES, SQLITE, STORES
from benchmarks.machine import examine
from benchmarks.places import here, places, stores_for
from benchmarks.runner import CHECKOUT
from benchmarks.soak_feeder import Feeder
from benchmarks.soak_looking import Figures, Watcher, percentiles
from benchmarks.soak_pace import SEARCH, SETTLE, STEADY, Pace
from benchmarks.soak_postgres import PostgresWatcher
from benchmarks.soak_processes import CpuMeter, WorkerDiedError, Workers, memory
from benchmarks.soak_report import Report, Sample
from benchmarks.soak_sqlite import SqliteWatcher
from benchmarks.soak_tasks import declare
from fanwood import Fanwood, Settings

OUTPUT = CHECKOUT / ".bench"
DAY = 86_400
LOOK = 0.2
"""Seconds between two looks whether the workers live, until they execute."""
STEP = 1.0
"""Seconds between two looks at the number of unfinished trees."""
LINE_EVERY = 60.0
"""Seconds; more often in a short soak."""

EPILOG = """\
examples:
  python -m benchmarks.soak                                  20 minutes on a PostgreSQL server of its own
  python -m benchmarks.soak --store sqlite --minutes 5
  python -m benchmarks.soak --url postgresql://me@127.0.0.1/soak --rate 100 --workers 4
  python -m benchmarks.soak --quick                          does it work; too short to say what grows

exit code: 0; 1 if something grows, or went wrong
"""


@dataclass(frozen=True)
class Times:
    """All in seconds, from the start."""

    search_ends: float
    settle_ends: float
    end: float
    sample: float  # from one to the next
    line: float

    @classmethod
    def within(cls, total: float, kept: float) -> "Times":
        search = min(60.0, total / 5)
        settle = min(kept + 90.0, total / 4)  # the first deletions, and a vacuum that has seen them
        sample = min(10.0, total / 40)
        return cls(search, search + settle, total, sample, min(LINE_EVERY, total / 10))

    def phase(self, at: float) -> str:
        return SEARCH if at < self.search_ends else SETTLE if at < self.settle_ends else STEADY


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    total = 30.0 if options.quick else options.minutes * 60
    kept = min(options.keep, total / 6)
    with ExitStack() as stack:
        try:
            (store,), _ = stores_for([] if options.url else [options.store], options.url)
            found = stack.enter_context(places([store], options.url, OUTPUT))
            machine = examine(*here(found))
        except ValueError as error:
            parser.error(str(error))
        told = {"store": store, "seconds": total, "kept": kept, "rate": options.rate, "children": options.children}
        report = Report(machine, {**told, "workers": options.workers, "slots": options.slots})
        database = stack.enter_context(found[store].new())
        settings = replace(database.settings("soak"), retention_days=kept / DAY, slots=options.slots)
        soak = Soak(settings, Times.within(total, kept), Pace(options.rate), options.children, report)
        with Workers(settings, options.workers, Path(database.folder)) as workers:
            try:
                asyncio.run(soak.run(workers))
            except WorkerDiedError as error:
                report.failures.append(str(error))
            except KeyboardInterrupt:  # what was seen until then is shown
                report.failures.append("interrupted")
        report.complaints += workers.complaints()
    verdicts = report.verdicts()
    print(soak_report.table(report, verdicts))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(soak_report.as_json(report, verdicts), indent=2) + "\n", encoding="utf-8")
    print(f"As JSON: {options.json}")
    return 1 if report.failures or any(verdict.bad for verdict in verdicts) else 0


class Soak:
    """One, from its first tree to its last sample."""

    def __init__(self, settings: Settings, times: Times, pace: Pace, children: int, report: Report) -> None:
        self._settings = settings
        self._times = times
        self._pace = pace
        self._children = children
        self._report = report
        self._meter = CpuMeter()

    async def run(self, workers: Workers) -> None:
        settings = self._settings
        watcher: Watcher = (
            SqliteWatcher(settings) if settings.database_url.startswith("sqlite:") else PostgresWatcher(settings)
        )
        app = Fanwood(settings.database_url, postgres_schema=settings.postgres_schema, local_worker=False)
        async with declare(app):
            feeder = Feeder(app, self._pace, self._children)
            try:
                async with _beside(feeder.warm_up()) as warming:
                    while not warming.done():
                        workers.check()
                        await asyncio.wait((warming,), timeout=LOOK)
                await watcher.open()
                async with _beside(feeder.run()):
                    await self._watch(feeder, watcher, workers)
                await feeder.finish()
            finally:
                self._report.failures += feeder.failures
                await watcher.close()

    async def _watch(self, feeder: Feeder, watcher: Watcher, workers: Workers) -> None:
        times, pace = self._times, self._pace
        await watcher.look()  # from which the next one counts
        print(soak_report.HEAD)
        begin = step = sampled = shown = time.monotonic()
        unfinished, started, left_out = await watcher.unfinished(), feeder.started, feeder.left_out
        at_last = (started, unfinished)
        while (at := time.monotonic() - begin) < times.end:
            await asyncio.sleep(max(0.0, step + min(STEP, times.sample) - time.monotonic()))
            workers.check()
            now, before, unfinished = time.monotonic(), unfinished, await watcher.unfinished()
            pace.note(now - step, feeder.started - started, before, unfinished)
            step, started = now, feeder.started
            if times.phase(at) != pace.phase:
                pace.enter(times.phase(at))
                self._report.limit, left_out = pace.limit, feeder.left_out
            if now - sampled < times.sample:
                continue
            done = started - unfinished - (at_last[0] - at_last[1])
            figures = await self._look(feeder, watcher, workers, done, now - sampled)
            sample = Sample(round(at, 1), pace.phase, {**figures, "unfinished": unfinished})
            sampled, at_last = now, (started, unfinished)
            self._report.samples.append(sample)
            if now - shown >= times.line - times.sample / 2:
                shown = now
                print(soak_report.line(sample), flush=True)
        self._report.note_left_out(feeder.left_out - left_out, pace.rate)

    async def _look(self, feeder: Feeder, watcher: Watcher, workers: Workers, trees: int, seconds: float) -> Figures:
        runs = trees * (self._children + 1)
        figures = {
            "rate": self._pace.rate,
            "trees": trees / seconds,
            "runs": runs / seconds,
            **percentiles("tree", [taken * 1e3 for taken in feeder.taken()]),
            **await watcher.look(),
            "worker_cpu": self._meter.spent(workers.pids),
            "load": os.getloadavg()[0],
        }
        for key in {"worker_cpu", "backend_cpu"} & figures.keys():
            figures[key] *= 1e6 / max(1, runs)
        held = [size for pid in workers.pids if (size := memory(pid)) is not None]
        if held:
            figures |= {"worker_memory": max(held), "client_memory": memory(os.getpid()) or 0.0}
        return figures


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """It goes on until the end of the `with`; if it fails, that is raised there."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Start trees at a steady rate while old ones are deleted, and see whether anything grows.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--minutes", type=_positive(float), default=20.0, metavar="N", help="how long (default: 20)")
    add("--quick", action="store_true", help="half a minute")
    add("--rate", type=_positive(float), default=500.0, metavar="N", help="trees per second, at most (default: 500)")
    add("--children", type=_positive(int), default=20, metavar="N", help="of each tree (default: 20)")
    add("--workers", type=_positive(int), default=2, metavar="N", help="worker processes (default: 2)")
    add("--slots", type=_positive(int), default=Settings().slots, metavar="N", help="of each worker")
    add("--keep", type=_positive(float), default=30.0, metavar="SECONDS", help="how old trees get (default: 30)")
    add("--store", choices=STORES, default=POSTGRES, help=f"default: {POSTGRES}")
    add("--url", metavar="URL", help=f"a new schema in that database, or ({SQLITE}) a new file beside that one")
    add("--json", type=Path, default=OUTPUT / "soak.json", metavar="FILE", help="default: .bench/soak.json")
    return parser


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be more than 0, and is {value}")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
