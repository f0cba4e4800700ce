"""What a lens asks of a store: verbs that only look, each of them one statement of a bounded size.

The reader pays: nothing is counted where runs are executed, and no look is a transaction over several others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from fanwood.model.looks import SEGMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.looks import Besides, Cell, FailedRow, Kin, LastRow, ParentRow, Part, RecentRow, Running
    from fanwood.model.records import RunRecord
    from fanwood.model.states import RunState

MOST = 4 * SEGMENT
"""Rows that a look reads, whatever the part: who asks for less sees the count."""
FEW = 65
"""A family of so many is no small one."""
MOST_QUEUED = 1_000
"""Runs of one queue that are counted."""


class Looks(ABC):
    """The verbs."""

    @abstractmethod
    async def segment_end(self, root: bytes, parent: bytes, after: bytes, size: int = SEGMENT) -> bytes | None:
        """The id of the last of the next `size` children after `after`; None if there are not so many."""

    @abstractmethod
    async def cube(self, part: Part, shift: int) -> list[Cell]:
        """A part, by task, state, time and duration; times in bins of 2 ** `shift` microseconds."""

    @abstractmethod
    async def next_parent(self, root: bytes, after: bytes, until: bytes) -> bytes | None:
        """The first run after `after`, and not after `until`, that has children."""

    @abstractmethod
    async def parents(self, part: Part, few: int = FEW) -> list[ParentRow]:
        """Of a part those runs that have children. These are counted as far as `few`."""

    @abstractmethod
    async def sizes(self, root: bytes, ids: Sequence[bytes], few: int) -> list[ParentRow]:
        """Those of these runs that have children, which are counted as far as `few`."""

    @abstractmethod
    async def running(self, after: tuple[int, bytes], limit: int) -> list[Running]:
        """What is RUNNING, in all trees, from the one after (worker, run) on."""

    @abstractmethod
    async def failed(self, root: bytes, after: bytes, limit: int, *, links: bool = False) -> list[FailedRow]:
        """What failed in a tree, by id. `links`: and calls of what is shared, if that has."""

    @abstractmethod
    async def failed_at(self, after: tuple[int, bytes], before: int, limit: int) -> list[FailedRow]:
        """What failed in all trees, before a time, in the order of time, from the one after (time, run) on."""

    @abstractmethod
    async def briefs(self, ids: Sequence[bytes]) -> list[RunRecord]:
        """Those of these runs that are there, without what they were given and gave, errors cut short; in any order."""

    @abstractmethod
    async def longest(self, part: Part, task: str | None, limit: int) -> list[LastRow]:
        """Of a part those that took longest."""

    @abstractmethod
    async def serving(self, limit: int) -> list[tuple[str, int]]:
        """Which tasks are served by which workers: by those that live and have slots."""

    @abstractmethod
    async def latest(self, part: Part) -> LastRow | None:
        """Of a part the oldest that is RUNNING, or has not ended; or else the one that ended last."""

    # --- run by run ------------------------------------------------------------------------------------------------

    @abstractmethod
    async def below(self, root: bytes, after: tuple[bytes, bytes], limit: int) -> list[RunRecord]:
        """A tree but for its root, in pages by (parent, id): as `briefs`, from the run after that place on."""

    @abstractmethod
    async def picked(self, part: Part, task: str | None, state: RunState | None, limit: int) -> list[RunRecord]:
        """The first of a part (of one family) that have this task and state, as `briefs` gives them."""

    @abstractmethod
    async def picked_before(self, root: bytes, parent: bytes, run_id: bytes, limit: int) -> list[RunRecord]:
        """The siblings before one, the nearest first, as `briefs` gives them."""

    @abstractmethod
    async def above(self, run_id: bytes, limit: int) -> list[RunRecord]:
        """A run's ancestors, the nearest `limit` of them, as `briefs` gives them; the topmost first."""

    @abstractmethod
    async def besides(self, run_id: bytes) -> Besides | None:
        """What else a run's row has; None if there is none."""

    @abstractmethod
    async def suspended(self, ids: Sequence[bytes]) -> list[bytes]:
        """Those of these runs whose code is unloaded while they wait for others; in any order."""

    @abstractmethod
    async def kin(self, ids: Sequence[bytes]) -> list[Kin]:
        """Those of these runs that are links to shared runs, or shared, that are hedges, or have one that lives: each
        once, in any order."""

    @abstractmethod
    async def spends(self, root_id: bytes, most: int) -> int:
        """How many spends of a tree are kept, and what is held in it; more than `most` are not counted."""

    @abstractmethod
    async def holder(self, namespace: str, key: str) -> bytes | None:
        """The root that has an idempotency key of a namespace, if it is kept still."""

    @abstractmethod
    async def recent(self, after: bytes, until: bytes, limit: int) -> list[RecentRow]:
        """The first runs between two ids, of all trees."""

    @abstractmethod
    async def queues(self, few: int = MOST_QUEUED) -> list[tuple[str, int]]:
        """Of each published task: how many runs are queued; of more than `few` not how many."""

    async def lag(self) -> int | None:
        """Microseconds by which a replica is behind; None: it is none, or can't say."""
        return None

    @abstractmethod
    async def tree_sample(self, root: bytes, limit: int) -> list[tuple[int, bool, int]]:
        """Of the first so many runs below a root: how many are in which state, and are waits or not."""
