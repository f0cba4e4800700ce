"""The narrow waist: what an engine asks of a database.

One *hot* verb, `commit`, carries everything that runs do, in batches; the rest is *cold*. Each verb is one transaction,
or (where it says so) several, none of which grows with a tree or with history. Verbs raise `StoreError`s; the ones that
a retry may heal (`StoreBusyError`, `StoreFullError`, `StoreUnavailableError`) leave nothing half done, and a `Batch`
may be sent again as it is.

A backend is whatever passes `tests/conformance`. The verbs are coroutines because a server is reached over a
network; a backend whose database is a library may do its work in place, since the only caller is the engine's own
thread.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from fanwood.model.commands import FIRST_CHUNK
from fanwood.model.records import PruneCursor
from fanwood.store.forking import Forking
from fanwood.store.looks import Looks
from fanwood.store.many import Many
from fanwood.store.outside import Outside
from fanwood.store.patching import Patching
from fanwood.store.pausing import Pausing
from fanwood.store.prioritizing import Prioritizing
from fanwood.store.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fanwood.model.commands import Batch, Committed, TaskInfo, WorkerInfo
    from fanwood.model.records import (
        Around,
        AttemptRecord,
        Audited,
        Circumstances,
        Few,
        Known,
        LeftOver,
        LogRecord,
        Page,
        PruneCount,
        Pruned,
        Recorded,
        RunFilter,
        RunRecord,
        StoreReport,
        Swept,
        TaskCount,
        TreeRun,
        Unserved,
        Walk,
        WorkerRecord,
    )
    from fanwood.model.states import RunState

Place = tuple[int, bytes, bytes, bytes]
"""Of an audit: when a root was created, or 0, root, and parent (or nothing); and the run."""


START = PruneCursor()
"""Before the oldest root."""
WHOLE = PruneCursor(whole=True)
"""There as well: from there every root is looked at."""


class Store(Outside, Pausing, Patching, Prioritizing, Forking, Many, Looks, Telling):
    """A database that holds runs. Not thread-safe: it belongs to one engine."""

    url: str
    """Where it is, without a password."""

    embedded: bool
    """Whether it is no server, so that a plain script is its own worker."""

    # --- its life --------------------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self, on_notify: Callable[[], None]) -> None:
        """Connect, and bring the schema into being if there is none.

        While `watch` runs, `on_notify` is called, on the running loop, soon after somebody else has changed something.
        Notifications may be lost or spurious.
        """

    @abstractmethod
    async def watch(self) -> None:
        """For ever: look whether others have changed something. May be begun anew after an error."""

    async def attend(self) -> None:
        """Have changes told again, after `hush`: those from now on."""

    async def hush(self) -> None:
        """Changes need not be told for a while: who has heard of one, and looks later, is only disturbed by more."""

    @abstractmethod
    async def migrate(self, *, dry_run: bool = False) -> list[str]:
        """Of a store that is not open, and stays so: bring the schema up to date; the names of the steps that this
        took, in order. Several processes may do it at once. `dry_run`: change (and make) nothing, and say what it would
        take.

        Raises:
            StoreSchemaError: the database is of a newer version.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of the database. May be called twice."""

    @abstractmethod
    def now(self) -> int:
        """The store's own clock (or a close estimate of it), in microseconds."""

    async def moment(self) -> int:
        """The same, as the store itself says: nothing that anybody was told of by now is later."""
        return self.now()

    # --- the hot verb ----------------------------------------------------------------------------------------------

    @abstractmethod
    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        """Do all that `batch` says, durably, or nothing of it."""

    @abstractmethod
    async def fail_unreadable(self, tasks: str) -> int:
        """A claim failed, and nothing else that was asked for did. Of what is first in the queue of these tasks (a JSON
        array) that fails which can't be read, or claimed; how many runs. Looks at each by itself."""

    # --- engines and leases ----------------------------------------------------------------------------------------

    @abstractmethod
    async def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo]) -> int:
        """Enter an engine under a new lease and publish its tasks; its id."""

    @abstractmethod
    async def publish(self, worker_id: int, tasks: Sequence[TaskInfo]) -> None:
        """The engine serves these tasks as well from now on."""

    @abstractmethod
    async def renew(self, worker_id: int) -> bool:
        """Renew the lease, by the store's clock; False if it had lapsed and somebody has taken its runs. Never waits
        for anything else that this engine does."""

    @abstractmethod
    async def reap(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        """Take a dead engine's runs back to the queue, charging those that were executing; how many there were.

        A run charged for the `deaths_limit`-th time in a row fails as poison instead. `if_lapsed`: only if its lease
        has not been renewed meanwhile. First its lease is taken away: from then on it claims nothing, and its renewal
        says so. Then its runs go back in bounded transactions; one that was interrupted is gone on with by whoever
        reaps it next.
        """

    @abstractmethod
    async def unregister(self, worker_id: int) -> None:
        """Take out an engine that stopped in good order, and holds no runs."""

    @abstractmethod
    async def look_around(self, worker_id: int, host: str) -> Around:
        """Everything that an engine looks for now and then, in one round trip: which others might be dead, when the
        next timer is due, whether something is being closed."""

    @abstractmethod
    async def contended(self, worker_id: int) -> frozenset[str]:
        """Those tasks of a worker that another one, whose lease has not lapsed, serves as well."""

    @abstractmethod
    async def workers(self) -> list[WorkerRecord]:
        """All engines."""

    @abstractmethod
    async def tasks(self) -> list[TaskInfo]:
        """All tasks that were ever published."""

    @abstractmethod
    async def served(self, worker_id: int, task: str) -> bool:
        """Whether a live engine other than `worker_id` serves `task`."""

    @abstractmethod
    async def left_over(self, tasks: Sequence[str], programs: Sequence[int], limit: int) -> list[LeftOver]:
        """Which of these tasks have queued runs, how many of them below roots of other programs than these; no more
        than `limit` of each are looked at, and no more than some if inputs are large."""

    @abstractmethod
    async def unserved(self) -> list[Unserved]:
        """Tasks that have queued runs and no live worker. Takes as long as there are such runs."""

    # --- timers ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def tick(self) -> int | None:
        """Let WAITING runs whose time has come into the queue, and fail those that waited or were queued too long, a
        bounded number of each; when the next is due, if any. That is now, if there are more; somewhat later, if
        another engine is at it."""

    @abstractmethod
    async def deadlines(self, run_ids: Sequence[bytes]) -> dict[bytes, int]:
        """The deadlines of these runs, as far as they have any. What a run was claimed with is only a reason to look
        here: deadlines move, and those who have them are told by and by (`sweep`)."""

    # --- what people ask for ---------------------------------------------------------------------------------------

    @abstractmethod
    async def cancel(self, run_id: bytes, reason: str, attempt: int | None = None) -> bool:
        """Cancel a run, and close all below it; whether the run had not ended. `attempt`: only as long as that is the
        present one.

        Takes no longer for a large tree than for a small one: what is below a closed run can't be born, claimed or
        queued any more, and is ended by `sweep`. Workers are told (`Committed.closings`); once all have heard
        (`is_heard`), nothing below starts. Also below a run that has ended. `store/cancelling.py` does all of it.

        Raises:
            RunNotFoundError: there is no such run.
            AttemptFencedError: that attempt is over.
        """

    @abstractmethod
    async def cancel_children(self, parent_id: bytes, attempt: int, ids: Sequence[bytes], reason: str) -> int:
        """Who waited for these children has given up: cancel those that have not ended, and that this attempt of their
        parent asked for last; how many. One transaction."""

    @abstractmethod
    async def is_heard(self, *ids: bytes) -> bool:
        """Whether every worker with a valid lease has acted upon the closing of what is below each of these."""

    @abstractmethod
    async def sweep(self, run_id: bytes | None = None) -> Swept:
        """End some of what is below closed runs, tell some runs of deadlines that moved, and queue some of what is
        paused no more; and give some another priority: a bounded transaction for each. Any engine may, at any time;
        two don't do the same twice. `run_id`: only what is closed, was paused or is to have another priority, in the
        tree of that run."""

    @abstractmethod
    async def replay(self, run_id: bytes, allow: Iterable[RunState]) -> bool:
        """Queue an ended run again, with fresh retries; False if its state isn't among `allow`. Below something that is
        closed it waits (in several transactions) until that is swept.

        Raises:
            RunNotFoundError: there is no such run, or its tree is being deleted.
            UsageError: it has no code: a part of its parent.
        """

    @abstractmethod
    async def wake(self, run_id: bytes) -> bool:
        """End a sleep now; False if it has ended, or ends with its parent.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is no sleep.
        """

    @abstractmethod
    async def get(self, run_id: bytes) -> RunRecord:
        """One run, whole.

        Raises:
            RunNotFoundError: there is no such run.
        """

    @abstractmethod
    async def circumstances(self, run_id: bytes) -> Circumstances:
        """What a run's being where it is depends on (why.py): looks of a bounded size, one after another.

        Raises:
            RunNotFoundError: there is no such run.
        """

    @abstractmethod
    async def find(self, digits: str, limit: int = 2) -> list[bytes]:
        """At most `limit` runs (of a hundred) whose ids begin with these hex digits (dashes are ignored), or else end
        in them.

        An id begins with the time of its making, so its end is what tells it from its neighbours: at least four digits.
        No index has it; ids are looked through, the newest first, 50,000 at a time, until some end so.

        Raises:
            RunNotFoundError: these are no digits of an id.
        """

    @abstractmethod
    async def previews(self, ids: Sequence[bytes], length: int) -> list[str]:
        """The beginning of each run's input, as it stands; empty for a run that is gone."""

    @abstractmethod
    async def listing(self, filter_: RunFilter) -> Page:
        """Runs, newest first. One call looks at a bounded number of them."""

    @abstractmethod
    async def children(
        self,
        parent_id: bytes,
        *,
        task: str | None = None,
        state: RunState | None = None,
        after: bytes = b"",
        limit: int = 1000,
    ) -> list[RunRecord]:
        """A run's children, oldest first, from the one after `after`."""

    @abstractmethod
    async def recalled(self, parent_id: bytes, after: bytes = b"", limit: int = 1000, most: int = 0) -> list[Known]:
        """A run's children, as its next attempt finds them: oldest first, from the one after `after`. What has ended
        comes with its output or error, if that has at most `most` bytes."""

    @abstractmethod
    async def recorded(self, parent_id: bytes, after: bytes = b"", limit: int = 1000) -> list[Recorded]:
        """A run's children that no worker executes, oldest first, from the one after `after`."""

    @abstractmethod
    async def recorded_few(self, parents: Sequence[tuple[bytes, bytes]], limit: int, most: int) -> list[Few]:
        """What `recorded` says of each of these (a run, and after which). None: it has more than `limit` children of
        any kind after that, or what one that no worker executes said has more than `most` bytes."""

    @abstractmethod
    async def child_counts(self, parent_id: bytes) -> list[TaskCount]:
        """How many children of each task are in each state."""

    @abstractmethod
    async def tree_counts(self, run_id: bytes) -> list[TaskCount]:
        """How many runs of each task are in each state, in the tree below (and with) a run."""

    @abstractmethod
    async def tree_slowest(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        """The completed runs of a tree that took longest."""

    @abstractmethod
    async def tree_failures(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        """The failed and cancelled runs of a tree."""

    @abstractmethod
    async def logs(self, run_id: bytes, after: int = -1, limit: int = 1000, stop: int = FIRST_CHUNK) -> list[LogRecord]:
        """What a run logged, from the line after `after` to that before `stop`. (`PROGRESS` is before all of it, the
        chunks of its stream come after it.)"""

    @abstractmethod
    async def attempts(self, run_id: bytes) -> list[AttemptRecord]:
        """A run's attempts, in order: the last 100 of those after which it was retried, taken from a lost worker, or
        replayed, and the one that runs or ended it. Those that were handed back are not among them."""

    @abstractmethod
    async def log_end(self, run_id: bytes) -> int:
        """The number of the last line that a run logged; -1 if it has logged nothing."""

    @abstractmethod
    async def report(self, *, full: bool = False) -> StoreReport:
        """A check of the store's health; `full`: also what takes as long as there are runs."""

    @abstractmethod
    async def audit(self, walk: Walk, after: Place, limit: int) -> list[Audited]:
        """Rows as `model/invariants.py` judges them, from the one after a place on. Of what is unfinished: the first
        so many of each state. `store/auditing.py` walks through all."""

    # --- looking after it ------------------------------------------------------------------------------------------

    @abstractmethod
    async def prune(self, before: int, limit: int, cursor: PruneCursor = START, namespace: str = "") -> Pruned:
        """Delete trees in which every run has ended, the root before `before`: oldest first, with logs and watches.
        Only trees of the namespace; of no other one, if it is empty.

        Where a thousand roots are all of other namespaces, what comes next of this one is found by the time in its
        roots' ids. That time may be wrong: ids of one's own, a clock that was set. From `WHOLE` none is missed.

        One call looks at about `limit` roots and deletes about `limit` runs: whole trees, as long as they fit. A tree
        larger than that is marked first (nothing of it can be replayed from then on), looked through, and taken apart
        in several calls, from its leaves upward, its root last. In the transaction that deletes, the root is locked and
        looked at again. `cursor` is what the call before gave, for the same `before`; to begin with, and once a call
        gave none, leave it out.
        """

    @abstractmethod
    async def begin_deleting(self, root_id: bytes) -> PruneCursor | None:
        """Mark the tree of a root that has ended: nothing of it can be replayed from then on. `prune` with the cursor
        takes it apart, whatever its size, or lets it be if something in it has not ended. None: it can't be deleted."""

    @abstractmethod
    async def tidy(self) -> None:
        """Clear away what updates have left behind, if there is so much of it that it slows down claims. May take a
        while, during which others go on."""

    @abstractmethod
    async def prunable(self, before: int, namespace: str = "") -> PruneCount:
        """How much `prune` would delete by and by. Takes as long as there are runs."""

    @abstractmethod
    async def copy_out(self, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        """The rows of a table (`task`, `run`, `log` ...) by their key, at most `limit`, from the one after `after`: the
        key's columns, which are each row's first (`store/copying.py` has the tables). Columns come in one order,
        whatever the backend. A RUNNING run comes as QUEUED, and under no worker.
        """

    @abstractmethod
    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Enter rows as `copy_out` gave them; those whose key is there already are left as they are. How many were
        new."""

    @abstractmethod
    async def count(self, table: str) -> int:
        """How many rows a table has."""
