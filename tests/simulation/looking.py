"""One world, seen from outside; and all of them together: what happened in them, and what never did."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fanwood.model.states import TRANSITIONS, RunState
from fanwood.store.looks import Looks
from fanwood.store.store import Store
from tests.simulation.machine import without_collector
from tests.simulation.shapes import SMALL, Less, Shape
from tests.simulation.world import AT_ANY_STEP, FAULTS, NEVER_ON, World, WrongError

VERBS = sorted({*Store.__abstractmethods__} - Looks.__abstractmethods__ - {"open", "close", "watch", "migrate", "now"})
AT_HINTS = ("hint lost", "hint late", "hint twice")
ONE_PLACE = {"refused": "commit"} | dict.fromkeys(AT_HINTS, "hint") | dict.fromkeys(AT_ANY_STEP, "")
"""Faults that do not come at any verb."""
CHANGES = sorted({(before, after) for (before, _), targets in TRANSITIONS.items() for after in targets})


class Seen(NamedTuple):
    """What a world was like."""

    seed: int
    wrong: str
    steps: int
    seconds: float
    runs: int
    faults: Counter[tuple[str, str]]
    states: Counter[tuple[RunState | None, RunState]]
    trace: str
    program: str


def look_at(seed: int, less: Less = Less(), shape: Shape = SMALL) -> Seen:  # noqa: B008  (they are frozen)
    """One world; or less of it, if something is wrong and it is asked what that needs."""
    with without_collector():
        world, wrong = World(seed, less, shape), ""
        try:
            world.run()
        except WrongError as error:
            wrong = str(error)
        runs = len(world.tables.runs)
        steps, trace, seconds = world.scheduler.steps, world.trace.hexdigest(), world.time.seconds
        seen = Seen(seed, wrong, steps, seconds, runs, world.faults, world.states, trace, world.program)
        del world
    return seen


class Total:
    """Of all worlds."""

    def __init__(self, shape: Shape = SMALL) -> None:
        self._faults = [fault for fault in FAULTS if any(fault not in NEVER_ON[store] for store in shape.stores)]
        self.worlds = self.runs = 0
        self.seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.at: Counter[tuple[str, str]] = Counter()
        self.states: Counter[tuple[RunState | None, RunState]] = Counter()

    def add(self, seen: Seen) -> None:
        """One more."""
        self.worlds, self.runs, self.seconds = self.worlds + 1, self.runs + seen.runs, self.seconds + seen.seconds
        self.at += seen.faults
        self.states += seen.states
        for (fault, _), count in seen.faults.items():
            self.faults[fault] += count

    def line(self, took: float) -> str:
        """How far it is."""
        changes = self._changes
        seen = sum(1 for count in changes.values() if count)
        faults = ", ".join(f"{fault} {count:,}" for fault, count in self.faults.most_common())
        return (
            f"{self.worlds:,} worlds, {self.worlds / took:.1f} a second; {self.seconds / 3600:.1f} h lived, "
            f"{self.runs:,} runs; {seen} of {len(changes)} changes of state; faults: {faults}"
        )

    @property
    def _changes(self) -> dict[str, int]:
        return {f"{one.name} -> {two.name}": self.states[one, two] for one, two in CHANGES}

    @property
    def never(self) -> list[str]:
        """What may happen, and didn't in any world."""
        return [
            what for what, count in {**self._changes, **{f: self.faults[f] for f in self._faults}}.items() if not count
        ]

    def coverage(self) -> str:
        """Which changes of state there were, and which faults at which verbs of the store."""
        states = [f"{change} {count:,}" for change, count in self._changes.items()]
        asked = [verb for verb in VERBS if any(self.at[fault, verb] for fault in FAULTS)]
        lines = [f"states: {', '.join(states)}", f"verbs of the store: {', '.join(asked)}"]
        for fault in self._faults:
            verbs = [ONE_PLACE[fault]] if fault in ONE_PLACE else asked
            never = [verb for verb in verbs if not self.at[fault, verb]]
            lines.append(
                f"  {fault:<13}{self.faults[fault]:>9,} at {len(verbs) - len(never)} of {len(verbs)}"
                + (f"; never at {', '.join(never)}" if never else "")
            )
        return "\n".join(lines)
