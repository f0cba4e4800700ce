"""The same done by hand to many runs in one transaction: a bounded number of them, so that an action on a million runs
takes ten thousand transactions, and no long one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from fanwood.store.forking import NewFork

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY = 100
"""Runs to which something is done in one transaction, at most."""


class Deed(msgspec.Struct, frozen=True):
    """What is done. `by`: who wants it; of a cancel, its reason. `priority`: of what is reprioritized. `allow`: states
    in which a run is replayed. `forks`: for each run the fork that is made of it."""

    what: Literal["cancel", "replay", "pause", "resume", "reprioritize", "fork"]
    by: str = ""
    priority: int = 0
    allow: tuple[int, ...] = ()
    forks: tuple[NewFork, ...] = ()


class Came(IntEnum):
    """What came of it, for one run.

    NOT: it is not there, or it can't be.
    SAME: nothing is new.
    DONE: it is done.
    FOLLOWS: the same; and what is below it follows, by `sweep`.
    LATER: something above it is closed, and not swept yet: it is to be asked for by itself, which waits.
    """

    NOT = 0
    SAME = 1
    DONE = 2
    FOLLOWS = 3
    LATER = 4


class Many(ABC):
    """The verb."""

    @abstractmethod
    async def to_many(self, deed: Deed, ids: Sequence[bytes]) -> list[Came]:
        """Do that to each of these, `MANY` at most, as the verb of that name does to one: all in one transaction, or
        none. What can't be done to some of them keeps nobody else from it."""


def must_be_few(ids: Sequence[bytes]) -> None:
    """A transaction is bounded."""
    if len(ids) > MANY:
        raise ValueError(f"{len(ids)} runs at once: {MANY} at most")
