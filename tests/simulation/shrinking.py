"""A world in which something is wrong is made smaller: faults that it does not need, and runs that it does not need,
are left out for as long as something is wrong still.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.looking import Seen, look_at
from tests.simulation.shapes import Less
from tests.simulation.world import FAULTS

PATIENCE = 30.0
"""Seconds."""


def shrunk(seed: int, look: Callable[[int, Less], Seen] = look_at) -> tuple[Less, Seen]:
    """The least that was found, and what is wrong in it."""
    less = Less()
    seen, until = look(seed, less), time.monotonic() + PATIENCE
    goes_on = bool(seen.wrong)
    while goes_on:
        goes_on = False
        for candidate in _candidates(less, seen):
            if time.monotonic() > until:
                return less, seen
            tried = look(seed, candidate)
            if tried.wrong:
                less, seen, goes_on = candidate, tried, True
                break
    return less, seen


def _candidates(less: Less, seen: Seen) -> Iterator[Less]:
    """What may be left out beside: first much, then little."""
    faults = {fault for fault, _ in seen.faults}
    for fault in FAULTS:
        if fault in faults and fault not in less.faults:
            yield replace(less, faults=(*less.faults, fault))
    there = {int(found) for found in re.findall(r"^ *(\d+) ", seen.program, re.MULTILINE)}
    for number in sorted(there.difference(less.runs)):
        yield replace(less, runs=(*less.runs, number))
