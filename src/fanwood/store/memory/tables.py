"""What a store holds, as plain data: the rows of its tables, and the orders in which they are walked.

Every walk is along a sorted list, and never over a dictionary's or a set's own order: the same commands give the same
answers, whatever the process.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.errors import StoreValueError
from fanwood.ids import new_secret
from fanwood.model.commands import WorkerInfo
from fanwood.model.states import Open, RunState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.model.budgets import Limit, Spent
    from fanwood.model.commands import TaskInfo
    from fanwood.model.forks import Lineage
    from fanwood.model.matching import Event

LAST = b"\xff" * 17
"""After every id."""


class Run(msgspec.Struct):
    """A run. The fields, and their order, are those of the column list of `store/sql/copying.sql`."""

    id: bytes
    parent_id: bytes | None
    root_id: bytes
    depth: int
    kind: int
    task: str
    identity: bytes | None
    child_index: int | None
    child_key: str | None
    input_digest: bytes | None
    input: str
    metadata: str | None
    priority: int
    on_parent_end: int
    state: int
    waits: int | None
    due_at: int | None
    attempt: int
    trial_start: int
    retry_count: int
    deaths: int
    asked: int
    worker_id: int | None
    deadline: int | None
    deadline_by: bytes | None
    schedule_timeout: int | None
    expires_at: int | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    busy: int
    ended_by: int | None
    output: str | None
    error: str | None
    limit_at: int | None
    awaits: bytes | None = None
    life: str | None = None
    budget: bytes | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return RunState(self.state).is_terminal

    def is_at(self, state: int, attempt: int) -> bool:
        """The fence: whether it is still where somebody believes it to be."""
        return self.state == state and self.attempt == attempt


class Gate(msgspec.Struct):
    """What is below a run is closed, or its tree is being deleted (`what`)."""

    run_id: bytes
    root_id: bytes
    what: int
    which: int
    attempt: int
    error: str
    made_at: int
    since: int | None = None  # if it took the place of one whose sweep was not over: when that was made
    lead: bytes | None = None  # the gate whose pass covers this one
    place: bytes = b""  # of the pass that this gate leads: the last run that it has come to


class Pause(msgspec.Struct):
    """A run is paused, with all below it; or was, and what waited for that is being queued."""

    run_id: bytes
    root_id: bytes
    made_at: int
    asked_by: str
    resumed_at: int | None = None
    place: bytes | None = None  # the last run that was looked at


class Urgent(msgspec.Struct):
    """A run was given another priority, with all below it. `place`: the last run that heard of it; None: all have."""

    run_id: bytes
    root_id: bytes
    priority: int
    made_at: int
    asked_by: str
    place: bytes | None


class Moved(msgspec.Struct):
    """A tree in which a deadline moved."""

    root_id: bytes
    made_at: int
    again: bool = False  # once more, since the pass began
    place: bytes = b""


class Key(msgspec.Struct):
    """Who holds an idempotency key."""

    namespace: str
    key: str
    run_id: bytes
    digest: bytes
    expires_at: int | None = None


class Shared(msgspec.Struct):
    """A run that calls of its tree share. `open`: see `Open`."""

    root_id: bytes
    digest: bytes  # of its task and input
    run_id: bytes
    open: int


class Suspended(msgspec.Struct):
    """A run whose code was unloaded; kept to its end."""

    attempt: int  # that was suspended last
    wakes: int
    missing: int
    until: int | None
    awaits: list[bytes]  # while it is suspended
    pending: str | None = None  # whose ends its code had not been given, then


class Line(msgspec.Struct):
    """A line that a run logged."""

    run_id: bytes
    seq: int
    attempt: int
    at: int
    level: str
    message: str


class Message(msgspec.Struct):
    """Sent to a run, and not received yet."""

    run_id: bytes
    name: str
    number: int
    envelope: str
    once: bytes | None = None


class Past(msgspec.Struct):
    """An attempt that is over, and after which its run went on."""

    run_id: bytes
    number: int
    worker_id: int | None
    worker: str | None
    state: int
    started_at: int | None
    finished_at: int
    due_at: int  # from when on the next one could begin
    error: str | None


class Worker(msgspec.Struct):
    """An engine. `lease`: until when; None: it was taken away, and the worker is dead."""

    id: int
    info: WorkerInfo
    started_at: int
    lease: int | None
    serves: dict[str, None]


class Order:
    """A sorted list of keys, each once."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: list[Any] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __contains__(self, key: Any) -> bool:
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key

    def add(self, key: Any) -> None:
        """It is in there."""
        if key not in self:
            insort(self._keys, key)

    def discard(self, key: Any) -> None:
        """It is not."""
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            del self._keys[at]

    def first(self, count: int) -> list[Any]:
        """The first so many."""
        return self._keys[:count]

    def after(self, key: Any) -> Iterator[Any]:
        """From the one after `key` on. The list must not change meanwhile."""
        return islice(self._keys, bisect_right(self._keys, key), None)

    def since(self, key: Any) -> Iterator[Any]:
        """From `key` on, if it is there, else from the one after it."""
        return islice(self._keys, bisect_left(self._keys, key), None)

    def before(self, key: Any) -> Iterator[Any]:
        """From the one before `key` back."""
        for at in range(bisect_left(self._keys, key) - 1, -1, -1):
            yield self._keys[at]


class Tables:
    """All that one memory holds, and in which orders."""

    def __init__(self) -> None:
        self.runs: dict[bytes, Run] = {}
        self.gates: dict[bytes, Gate] = {}
        self.pauses: dict[bytes, Pause] = {}
        self.urgent: dict[bytes, Urgent] = {}
        self.moved: dict[bytes, Moved] = {}
        self.keys: dict[tuple[str, str], Key] = {}
        self.key_of: dict[bytes, tuple[str, str]] = {}
        self.logs: dict[bytes, dict[int, Line]] = {}
        self.past: dict[bytes, dict[int, Past]] = {}
        self.tasks: dict[str, TaskInfo] = {}
        self.updated: dict[str, int] = {}  # when a task was published last
        self.workers: dict[int, Worker] = {}
        self.last_worker = 0
        self.members = 0  # changes of workers and of what they serve
        self.told: dict[str, str] = {}  # how far hooks have been told (store/telling.py)
        self.mail: defaultdict[int, Order] = defaultdict(Order)  # "look at this run", by worker
        self.unheard: defaultdict[int, Order] = defaultdict(Order)  # closed, and not heard of, by worker
        self.watchers: defaultdict[bytes, Order] = defaultdict(Order)  # workers that want to hear of an end
        self.suspended: dict[bytes, Suspended] = {}
        self.awaited: dict[bytes, dict[bytes, int]] = {}  # from a run to those that are suspended and wait for it
        self.hedges: dict[bytes, bytes] = {}  # that live, and what each is to help
        self.hedged: dict[bytes, bytes] = {}  # the other way round
        self.shared: dict[tuple[bytes, bytes], Shared] = {}  # by root and digest
        self.shared_of: dict[bytes, Shared] = {}
        self.open = Order()  # those that are not over
        self.telling = Order()
        self._orders: defaultdict[tuple[Any, ...], Order] = defaultdict(Order)
        self._empty = Order()
        self.events: dict[str, Event] = {}
        self.messages: dict[bytes, dict[int, Message]] = {}  # by run and number
        self.values: dict[bytes, dict[str, str]] = {}  # what runs say of themselves, by key
        self.budgets: dict[bytes, dict[str, Limit]] = {}  # by run and unit
        self.spends: dict[bytes, dict[tuple[bytes, str], Spent]] = {}  # by run, id and unit
        self.forks: dict[bytes, Lineage] = {}  # by the root that was made
        self.trees: dict[bytes, int] = {}  # large ones: for how many runs room was taken
        self.number = 0  # of the last event, or wait for one
        self.secret = new_secret()  # what tokens of promises are made with
        self.stirred = False  # others should look: something was queued, or somebody was written to

    def next_number(self) -> int:
        """The next one of events and waits."""
        self.number += 1
        return self.number

    def order(self, *name: Any) -> Order:
        """One of the orders that `_places` enters runs into."""
        return self._orders.get(name, self._empty)

    # --- runs ------------------------------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """A run that is new."""
        self.runs[run.id] = run
        for name, key in (*_places(run), *_lasting(run)):
            self._orders[name].add(key)
        self.stirred = self.stirred or run.state == RunState.QUEUED

    def change(self, run: Run, **values: Any) -> None:
        """A run's columns get these values."""
        before = _places(run)
        for name, value in values.items():
            setattr(run, name, value)
        after = _places(run)
        if before == after:
            return
        for place in before:
            if place not in after:
                self._leave(*place)
        for name, key in after:
            self._orders[name].add(key)
        self.stirred = self.stirred or run.state == RunState.QUEUED

    def remove(self, run: Run) -> None:
        """A run goes, with all that hangs on it."""
        for place in (*_places(run), *_lasting(run)):
            self._leave(*place)
        beside = (self.logs, self.past, self.messages, self.values, self.watchers, self.gates, self.trees, self.pauses)
        for table in (self.runs, *beside, self.urgent, self.budgets, self.spends, self.forks):
            table.pop(run.id, None)
        for unheard in self.unheard.values():
            unheard.discard(run.id)
        key = self.key_of.pop(run.id, None)
        if key is not None:
            del self.keys[key]
        shared = self.shared_of.pop(run.id, None)
        if shared is not None:
            self.reopen(shared, Open.OVER)
            del self.shared[shared.root_id, shared.digest]

    def hedge(self, run_id: bytes, first: bytes) -> None:
        """A run is to help another one."""
        self.hedges[run_id], self.hedged[first] = first, run_id

    def unhedge(self, run_id: bytes) -> None:
        """It is over with that."""
        del self.hedged[self.hedges.pop(run_id)]

    def share(self, shared: Shared) -> None:
        """A run that is shared from now on."""
        self.shared[shared.root_id, shared.digest] = self.shared_of[shared.run_id] = shared
        self.reopen(shared, shared.open)

    def reopen(self, shared: Shared, how: int) -> None:
        """How far it is."""
        shared.open = int(how)
        for order, within in ((self.open, how != Open.OVER), (self.telling, how == Open.TELLING)):
            (order.add if within else order.discard)(shared.run_id)

    def _leave(self, name: tuple[Any, ...], key: Any) -> None:
        order = self._orders[name]
        order.discard(key)
        if not order:
            del self._orders[name]

    def has_children(self, run: Run) -> bool:
        """Whether a run has (or had) any."""
        return bool(self.order("children", run.id))

    def write(self, worker_id: int, run_id: bytes) -> None:
        """A letter to a worker, if he is there."""
        if worker_id in self.workers:
            self.mail[worker_id].add(run_id)
            self.stirred = True

    def unwatch(self, run_id: bytes, worker_id: int) -> None:
        """A worker does not want to hear of it any more."""
        watchers = self.watchers.get(run_id)
        if watchers is not None:
            watchers.discard(worker_id)
            if not watchers:
                del self.watchers[run_id]


def _places(run: Run) -> list[tuple[tuple[Any, ...], Any]]:
    """Where a run stands, by what may change of it: the names of orders, and its key there."""
    id_, state = run.id, run.state
    if state == RunState.RUNNING:
        return [*_of_state(run), (("living", run.root_id), id_), (("running", run.worker_id), id_)]
    if state == RunState.FAILED:
        return [*_of_state(run), (("failed",), (run.finished_at, id_)), (("failed", run.root_id), id_)]
    if run.is_over:
        return _of_state(run)
    places: list[tuple[tuple[Any, ...], Any]] = [(("living", run.root_id), id_), *_of_state(run)]
    if state == RunState.QUEUED:
        places.append((("queue", run.task), (-run.priority, run.root_id, -run.depth, id_)))
    if run.due_at is not None:
        places.append((("due",), (run.due_at, id_)))
    if run.awaits is not None:
        places.append((("awaiting",), (run.awaits, id_)))
    if run.expires_at is not None:
        places.append((("expiring",), (run.expires_at, id_)))
    return places


def _of_state(run: Run) -> list[tuple[tuple[Any, ...], Any]]:
    key = run.id if run.state == RunState.QUEUED else (run.created_at, run.id)
    return [(("roots in", run.state), key)] if run.parent_id is None else []


def _lasting(run: Run) -> list[tuple[tuple[Any, ...], Any]]:
    """Where it stands for as long as it is there."""
    if run.parent_id is None:
        root = (run.created_at, run.id)
        return [(("runs",), run.id), (("roots",), root), (("roots of", run.task), run.id)]
    return [
        (("runs",), run.id),
        (("children", run.parent_id), run.id),
        (("below", run.root_id), (run.parent_id, run.id)),
    ]


# --- values -----------------------------------------------------------------------------------------------------------


def check_values(url: str, rows: Any) -> None:
    """Refuse what other backends can't hold either, before anything is done: halves of characters, very long numbers.

    Raises:
        StoreValueError: there is such a value.
    """
    try:
        msgspec.msgpack.encode(rows)
    except (UnicodeError, OverflowError, TypeError) as error:
        raise StoreValueError(f"{url}: a value that no store can hold: {error}") from error
