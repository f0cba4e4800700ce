"""Worlds, one after another, on all cores: `make simulate`. With `--seed` one of them, and its story.

It ends with 1 at the first world in which something was that must not be, and says how to see that again.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from typing import NamedTuple

from fanwood.model.states import TRANSITIONS, RunState
from tests.simulation.machine import without_collector
from tests.simulation.world import FAULTS, World, WrongError

AT_ONCE = 64
"""Worlds between two looks at the clock."""
MANY = 500
"""Worlds in which everything that may happen should happen once."""


class Seen(NamedTuple):
    """What a world was like."""

    seed: int
    wrong: str
    steps: int
    seconds: float
    runs: int
    faults: Counter[str]
    states: Counter[tuple[RunState | None, RunState]]
    trace: str


def look_at(seed: int) -> Seen:
    """One world."""
    with without_collector():
        world, wrong = World(seed), ""
        try:
            world.run()
        except WrongError as error:
            wrong = str(error)
        runs = len(world.memory.tables.runs)
        steps, trace = world.scheduler.steps, world.trace.hexdigest()
        seen = Seen(seed, wrong, steps, world.time.seconds, runs, world.faults, world.states, trace)
        del world
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one world, and its story if something is wrong")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="where to begin")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many worlds")
    parser.add_argument("--minutes", type=float, default=0, help="as long as this, instead of a number of worlds")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args()
    if options.seed is not None:
        seen = look_at(options.seed)
        print(seen.wrong or f"seed {seen.seed}: {seen.runs} runs, {seen.seconds:.0f} s, trace {seen.trace}")
        return 1 if seen.wrong else 0
    return _many(options)


def _many(options: argparse.Namespace) -> int:
    last = sys.maxsize if options.minutes else options.first + options.seeds
    total, begin, wrong = Total(), time.monotonic(), ""
    with multiprocessing.Pool(options.processes, gc.freeze, maxtasksperchild=200) as pool:
        for first in range(options.first, last, AT_ONCE):
            if wrong or (options.minutes and time.monotonic() - begin > options.minutes * 60):
                break
            for seen in pool.imap_unordered(look_at, range(first, min(last, first + AT_ONCE)), chunksize=2):
                total.add(seen)
                wrong = wrong or seen.wrong
                if sys.stdout.isatty():
                    print(f"\r{total.line(time.monotonic() - begin)}", end="", flush=True)
    print(f"\r{total.line(time.monotonic() - begin)}\n{total.coverage()}\n{wrong}")
    if total.worlds >= MANY and total.never and not wrong:
        wrong = f"In so many worlds there was never: {', '.join(total.never)}"
        print(wrong)
    return 1 if wrong else 0


class Total:
    """Of all worlds."""

    def __init__(self) -> None:
        self.worlds = self.runs = 0
        self.seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.states: Counter[tuple[RunState | None, RunState]] = Counter()

    def add(self, seen: Seen) -> None:
        """One more."""
        self.worlds, self.runs, self.seconds = self.worlds + 1, self.runs + seen.runs, self.seconds + seen.seconds
        self.faults += seen.faults
        self.states += seen.states

    def line(self, took: float) -> str:
        """How far it is."""
        hours, faults = self.seconds / 3600, sum(self.faults.values())
        return (
            f"{self.worlds:,} worlds, {self.worlds / took:.1f} a second; {hours:.1f} h lived, {self.runs:,} runs, "
            f"{faults:,} faults"
        )

    @property
    def _changes(self) -> dict[str, int]:
        possible = sorted({(before, after) for (before, _), targets in TRANSITIONS.items() for after in targets})
        return {f"{one.name} -> {two.name}": self.states[one, two] for one, two in possible}

    @property
    def never(self) -> list[str]:
        """What may happen, and didn't in any world."""
        return [what for what, count in {**self._changes, **{f: self.faults[f] for f in FAULTS}}.items() if not count]

    def coverage(self) -> str:
        """Which faults there were, and which changes of state."""
        faults = [f"{fault} {self.faults[fault]:,}" for fault in FAULTS]
        states = [f"{change} {count:,}" for change, count in self._changes.items()]
        return f"faults: {', '.join(faults)}\nstates: {', '.join(states)}"


if __name__ == "__main__":
    sys.exit(main())
