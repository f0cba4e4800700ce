"""Giving a run an output by hand: one that has not ended ends with it, one that failed has completed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from fanwood.errors import UsageError
from fanwood.ids import id_text
from fanwood.model.records import Patched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.states import RunState

SHOWN = 1_000
"""Characters of what was there before that the run's log keeps."""


_BY, _THEN = "patched by ", "; it was "


class Patching(ABC):
    """The verb."""

    @abstractmethod
    async def patch(self, run_id: bytes, output: str, by: str) -> RunState:
        """Give a run an output, as JSON; in which state it was. One that has not ended ends: its attempt is told, and
        all below it is closed, as by a cancel (`is_heard`, `sweep`). A line in its log keeps who did it, and what was
        there before. `store/surgery.py` does all of it.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it has no code; or it has completed, and its parent has not ended.
        """


def refused(run_id: bytes, parent_id: bytes | None) -> UsageError:
    """Why what has completed can't be given another output."""
    return UsageError(
        f"Run {id_text(run_id)} has completed, and its parent {id_text(parent_id or b'')} has not ended: that may have "
        f"acted on the result. Cancel the parent, or wait for its end; then patch, and replay the parent"
    )


def patched_line(by: str, state: RunState, before: str | None) -> str:
    """What the log of the run keeps. `before`: its output or error."""
    was = f", with {before[:SHOWN]}" if before else ""
    return f"{_BY}{by}{_THEN}{state.name}{was}"


def patch_of(lines: Iterable[tuple[str, int]]) -> Patched | None:
    """What the last lines of its log keep of that, the newest first."""
    for message, at in lines:
        by, then, _ = message.removeprefix(_BY).partition(_THEN)
        if message.startswith(_BY) and then:
            return Patched(by, at)
    return None
