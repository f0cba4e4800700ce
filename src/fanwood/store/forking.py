"""Forks in a store: a root that is made from a run that has ended, and what of that is there to be copied.

The making takes no longer for a large tree than for a small one. What had finished is copied later, each when the fork
asks for it (`Record.life`); until the fork has ended, nobody deletes the tree that it is made from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import RunNotFoundError, UsageError
from fanwood.ids import id_text
from fanwood.model.states import FIRST_WAIT, RunKind, RunState

if TYPE_CHECKING:
    from fanwood.model.forks import Kept, Lineage

MOST = 100
"""Forks of one run that are shown, the newest first."""


class NewFork(msgspec.Struct, frozen=True):
    """A fork that is asked for. `input`: None for that of the run. `at`, `changed`, `by`: see `Lineage`; `life`: what
    stands in its row; `part`: what it, and all below it, may use."""

    id: bytes
    of: bytes
    life: str
    input: str | None = None
    at: bytes | None = None
    changed: int = 0
    by: str = ""
    part: tuple[tuple[str, int], ...] | None = None


class Forking(ABC):
    """The verbs."""

    @abstractmethod
    async def fork(self, new: NewFork) -> bool:
        """Make a root that is a fork: QUEUED, with what the run has that it is made of. False if there is a run of that
        id already.

        Raises:
            RunNotFoundError: there is no such run, or its tree is being deleted.
            UsageError: it has no code; or it has not ended.
        """

    @abstractmethod
    async def kept(self, run_id: bytes, way: bytes | None, after: bytes, limit: int, most: int) -> list[Kept]:
        """The children of a run as a fork of it finds them, oldest first, from the one after `after`. `way`: only that
        one, and what was asked for before it. Of what has code outputs come with it that have at most `most` bytes."""

    @abstractmethod
    async def lineage(self, root_id: bytes) -> Lineage | None:
        """What a root is a fork of, if it is one."""

    @abstractmethod
    async def forks(self, run_id: bytes) -> list[Lineage]:
        """The forks that were made of a run, the newest first, `MOST` at most."""


def must_fork(run_id: bytes, kind: int, state: int) -> None:
    """Refuse to fork what can't be.

    Raises:
        UsageError: it has no code, can't be a root, or has not ended.
    """
    if kind >= FIRST_WAIT or kind == RunKind.STEP:
        what = "step of a workflow" if kind == RunKind.STEP else "part of its parent"
        raise UsageError(
            f"Run {id_text(run_id)} can't be forked by itself: it is a {what}. Fork the run above it, at this one"
        )
    if state < RunState.COMPLETED:
        raise UsageError(
            f"Run {id_text(run_id)} is {RunState(state)}: only what has ended can be forked. Wait for its end, or "
            f"cancel it"
        )


def deleted(run_id: bytes) -> RunNotFoundError:
    """Its tree is no more."""
    return RunNotFoundError(f"Run {id_text(run_id)} is being deleted: its tree is too old to be kept")
