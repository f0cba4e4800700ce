"""Pausing a run with all below it, and resuming it: one row, whatever the size of the tree.

What is paused is not looked for. Births below it ask, and claims, which move what they meet to WAITING; what workers
had claimed ahead they hand back. Once it is resumed what waits is queued again by sweeps, a page at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from fanwood.errors import UsageError
from fanwood.ids import id_text
from fanwood.model.states import FIRST_WAIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import Pause

PAGE = 250
"""Runs that one step of a release looks at."""
FIRST = 1000
"""Pauses that are told at once."""
MEANWHILE = ", until what failed is queued again"
"""How the name ends under which `store/retrying.py` pauses a run for as long as it needs."""


class Pausing(ABC):
    """The verbs."""

    @abstractmethod
    async def pause(self, run_id: bytes, by: str) -> bool:
        """Pause a run and all below it; False: it is paused already, by itself. (Unless that is a pause for the time of
        something else, by a name that ends with `MEANWHILE`: it is this one from then on.) Takes no longer for a large
        tree than for a small one. Workers are told, as of what was cancelled: once all have heard (`is_heard`), nothing
        of it begins. `store/surgery.py` does all of it.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it has no code: a part of its parent.
        """

    @abstractmethod
    async def resume(self, run_id: bytes, only: str = "") -> bool:
        """Take back a pause of that run (`only`: by a name that ends so); False: there is none. What waits for it is
        queued again by `sweep`.

        Raises:
            RunNotFoundError: there is no such run.
        """

    @abstractmethod
    async def pauses(self, ids: Sequence[bytes] = (), after: tuple[int, bytes] = (-1, b"")) -> list[Pause]:
        """What is paused: of these trees (ids of roots), or anywhere; `FIRST` at most, the oldest first, from the one
        after `after`: its time, and its run."""


def must_have_code(run_id: bytes, kind: int, what: str) -> None:
    """Refuse this of what is a part of its parent.

    Raises:
        UsageError: it is.
    """
    if kind >= FIRST_WAIT:
        raise UsageError(
            f"Run {id_text(run_id)} can't be {what} by itself: it is a part of its parent, and has no code of its own"
        )
