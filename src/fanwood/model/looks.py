"""What a lens reads: parts of trees, and what a store says of one in a single bounded look."""

from __future__ import annotations

from enum import StrEnum
from math import floor, log2

import msgspec

from fanwood.model.states import RunState

SEGMENT = 4096
"""Runs that one look reads, or so: those of a segment."""
LATE = 10_000_000
"""Microseconds for which a commit may be under way, or clocks differ."""
FIRST_ID, LAST_ID = b"", b"\xff" * 17
"""Before every id, and after."""


def before(id_: bytes) -> bytes:
    """The greatest id that is less."""
    return (int.from_bytes(id_, "big") - 1).to_bytes(16, "big") if any(id_) else FIRST_ID


class Part(msgspec.Struct, frozen=True):
    """Some runs of a tree: the children of these parents (their ids, one after another) whose ids are greater than
    `after` and not greater than `until`. Who asks sees to it that there are not many more than `SEGMENT`."""

    root: bytes
    parents: bytes
    after: bytes = FIRST_ID
    until: bytes = LAST_ID

    @property
    def count(self) -> int:
        """How many parents."""
        return len(self.parents) // 16


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """Those runs of a part that are alike: of one task and state, and of one class of duration, that ended (or, if
    they have not, began; or were created) in one bin of time."""

    task: str
    state: int
    is_wait: bool  # a sleep, an event, a recorded step: no run
    bin: int  # time >> shift
    took: int  # class of the duration, see `duration_class`; -1: it did not begin, or has not ended
    count: int
    total: int  # microseconds that they took, together
    longest: int
    busy: int
    last: int | None  # when the last of them ended
    since: int | None  # QUEUED: since when the oldest has been there; RUNNING: ... begun; WAITING: due next


class ParentRow(msgspec.Struct, frozen=True):
    """A run of a part that has children: `size` of them, or more than that if it is as many as were to be counted."""

    id: bytes
    parent_id: bytes
    task: str
    state: int
    attempt: int
    size: int


class RecentRow(msgspec.Struct, frozen=True):
    """A run, as far as a list of tasks asks for it."""

    id: bytes
    root_id: bytes
    task: str
    state: int
    is_wait: bool
    started_at: int | None
    finished_at: int | None


class Running(msgspec.Struct, frozen=True):
    """A run that is RUNNING. With its worker it is the place where the next page goes on."""

    worker_id: int
    id: bytes
    root_id: bytes
    parent_id: bytes | None
    attempt: int


class FailedRow(msgspec.Struct, frozen=True):
    """A run that has failed. `error`: how that begins."""

    id: bytes
    root_id: bytes
    parent_id: bytes | None
    task: str
    attempt: int
    finished_at: int
    error: str
    ended_by: int | None = None
    started_at: int | None = None
    busy: int = 0


class LastRow(msgspec.Struct, frozen=True):
    """A run of a part, when it ended, and how long it took; whichever was asked for, that has most of it."""

    id: bytes
    state: int
    finished_at: int | None
    took: int | None
    among: int = 0  # so many, if it was asked for the latest


class Besides(msgspec.Struct, frozen=True):
    """What lists leave out of a run's row, but for what it was given and gave."""

    deadline_by: bytes | None
    has_output: bool
    error: str | None
    life: str | None = None  # of a run that has started over (model/lives.py)


class Bond(StrEnum):
    """What two runs have to do with each other."""

    SHARES = "shares"  # a call's link: it waits for the other, which is shared
    HELPS = "helps"  # a hedge: the second run of the other
    HELPED = "helped"  # it has a hedge that lives: the other
    SHARED = "shared"  # calls of its tree share it: no other


class Kin(msgspec.Struct, frozen=True):
    """What a run has to do with another one, that isn't above or below it."""

    run_id: bytes
    bond: Bond
    other: bytes
    task: str
    state: RunState


def duration_class(microseconds: int) -> int:
    """Half steps of powers of two: the class is `c` from 2 ** (c / 2) on. (The stores' SQL says the same. The tiny
    difference makes up for logarithms that fall short of whole numbers.)"""
    return 0 if microseconds < 1 else floor(2 * log2(microseconds) + 1e-9)


def class_end(class_: int) -> int:
    """Microseconds that the durations of a class are shorter than."""
    return round(2 ** ((class_ + 1) / 2))
