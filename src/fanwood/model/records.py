"""What the store shows of its contents: rows, as frozen data. (Structs, as they are defined and made in no time.)"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from fanwood.model.budgets import Balance
from fanwood.model.commands import BYTES_MORE, TEXT_MORE
from fanwood.model.looks import Kin
from fanwood.model.states import RunKind, RunState


class RunRecord(msgspec.Struct, frozen=True):
    """A run as it stands in the store. Times are microseconds by the store's clock; JSON is text.

    In listings `input` and `output` are left out (None); `get` brings them.
    """

    id: bytes
    parent_id: bytes | None
    root_id: bytes
    depth: int
    task: str
    child_key: str | None
    input: str | None
    metadata: str | None
    priority: int
    state: RunState
    attempt: int
    retry_count: int
    deaths: int
    worker_id: int | None
    deadline: int | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    due_at: int | None
    output: str | None
    error: str | None
    kind: RunKind = RunKind.TASK
    busy: int = 0  # microseconds with a slot, over all attempts that reported
    life: str | None = None  # of a run that has started over (model/lives.py)
    waits: int | None = None  # WAITING: for what (`Waits`)
    expires_at: int | None = None  # of a wait: then it is given up

    @property
    def until(self) -> int | None:
        """When something happens to one that is WAITING by the clock: it sleeps, or is held back, until then; or it is
        a wait, and is given up."""
        return self.expires_at if self.due_at is None and self.state is RunState.WAITING else self.due_at

    @property
    def is_begun_again(self) -> bool:
        """Whether something went wrong, and it was begun once more. (It has more attempts than one as well if it was
        handed back, or goes on after it was suspended, and nobody need look at it for that.)"""
        return self.attempt > 1 and bool(self.retry_count or self.deaths)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """A child that no worker executes, as its parent's next attempt finds it."""

    identity: bytes
    id: bytes
    state: RunState
    output: str | None
    error: str | None
    asked: int  # the parent's attempt that asked for it last, and had it written


Few = list[Recorded] | None
"""What a run recorded, if that is little."""


class Known(msgspec.Struct, frozen=True, gc=False):
    """A child that has code, as its parent's next attempt finds it."""

    identity: bytes
    id: bytes
    state: RunState
    asked: int
    digest: bytes | None  # of what it was asked with, if it has a key
    told: bool  # its output or error is here, if it has ended
    output: str | None
    error: str | None


class Settled(msgspec.Struct, frozen=True):
    """What somebody who settles a promise finds: how it ended, and whether he did that (`done`)."""

    done: bool
    state: RunState
    output: str | None
    error: str | None


class Above(msgspec.Struct, frozen=True):
    """A run's parent, as far as the run is judged by it."""

    state: RunState
    attempt: int
    root_id: bytes
    depth: int
    deadline: int | None
    since: int = 1  # the attempt with which its present life began


class Audited(msgspec.Struct, frozen=True):
    """A run's row, and what it stands beside, read at one moment: what `model/invariants.py` judges."""

    id: bytes
    parent_id: bytes | None
    root_id: bytes
    depth: int
    kind: int
    task: str
    identity: bytes | None
    on_parent_end: int
    state: RunState
    waits: int | None
    due_at: int | None
    attempt: int
    trial_start: int
    retry_count: int
    deaths: int
    asked: int
    worker_id: int | None
    deadline: int | None
    expires_at: int | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    busy: int
    ended_by: int | None
    missing: int | None  # of what was suspended: how many ends
    awaits: int  # how many runs it was suspended for that have not ended ...
    missed: int  # ... and that have: somebody forgot to tell
    shares: int | None  # of a link: the state of what it shares
    open: int | None  # of a link, and of what is shared: how far that is (`Open`)
    mark: bytes | None  # of what waits for an event or a message: by what it is found ...
    wanted: str | None  # ... and for what it waits
    has_output: bool
    has_error: bool
    held: bool  # its worker is entered
    gated: bool  # something in its tree is closed: a sweep is under way
    moved: bool  # its deadline, or its parent's, moved since it was spawned: what stands in rows may be an older one
    above: Above | None


class Walk(IntEnum):
    """In which order an audit goes."""

    ROOTS = 0
    CHILDREN = 1  # family after family
    UNFINISHED = 2  # some of those, without an order


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs a listing shows, newest first."""

    task: str | None = None
    prefix: str | None = None  # of the task's name: the namespace
    state: RunState | None = None
    since: int = 0
    until: int | None = None  # created before this
    limit: int = 50
    every: bool = False  # children as well, and not roots only
    metadata: tuple[tuple[str, str], ...] = ()  # names, and their values as JSON; all must be there
    after: tuple[int, bytes] | None = None  # (created_at, id): from the one after (older than) this


class Page(msgspec.Struct, frozen=True):
    """Some of a listing. `after` is where it goes on (`RunFilter.after`), None at its end. A page may be short, even
    empty, and not the last: a look at the next so many runs found few that the filter lets through."""

    runs: list[RunRecord]
    after: tuple[int, bytes] | None = None


class TaskCount(msgspec.Struct, frozen=True):
    """How many runs of one task are in one state, below one run; of children also how long they took."""

    task: str
    state: RunState
    count: int
    first: int | None
    last: int | None
    fastest: int | None = None
    slowest: int | None = None


class TreeRun(msgspec.Struct, frozen=True):
    """A run picked out of a tree: one of the slowest, or a failed one."""

    id: bytes
    task: str
    input: str
    took: int | None
    error: str | None


class LogRecord(msgspec.Struct, frozen=True):
    """A line that a task logged."""

    seq: int
    attempt: int
    at: int
    level: str
    message: str

    def starts_over(self, attempt: int | None) -> bool:
        """Of a chunk: whether what that attempt had put before may come again."""
        return attempt not in (None, self.attempt) and self.level not in (TEXT_MORE, BYTES_MORE)


class AttemptRecord(msgspec.Struct, frozen=True):
    """One attempt of a run. `error`: None also if its worker was lost (then it is FAILED all the same)."""

    number: int
    worker_id: int | None
    worker: str | None
    state: RunState
    started_at: int | None
    finished_at: int | None
    error: str | None


class WorkerRecord(msgspec.Struct, frozen=True):
    """An engine that holds (or held) a lease; a client has no slots."""

    id: int
    name: str
    host: str
    pid: int
    slots: int
    started_at: int
    lease: int
    lease_expires_at: int
    running: int


class LeftOver(msgspec.Struct, frozen=True):
    """Queued runs of a task, before somebody begins to serve it."""

    task: str
    count: int
    foreign: int  # of them: below roots of other programs
    version: int  # of the code that served it last
    more: bool = False  # others were not looked at


class Unserved(msgspec.Struct, frozen=True):
    """A task whose queued runs nobody takes: how many, and when the oldest was created."""

    task: str
    count: int
    oldest: int


class OtherWorker(msgspec.Struct, frozen=True):
    """Another engine, as far as its life is concerned."""

    id: int
    name: str
    host: str
    pid: int
    lease_expires_at: int


class Around(msgspec.Struct, frozen=True):
    """What an engine sees when it looks around, in one round trip."""

    others: list[OtherWorker]  # other engines on its own host, and all that have no valid lease
    due: int | None = None  # when the next timer is due
    closed: bool = False  # something is closed, or a deadline moved: `sweep`, but for a sign that somebody else does
    progress: str = ""  # such a sign: how far he has come, if the store can tell
    members: int = 0  # another number than before: workers, or what they serve, have changed


class Swept(msgspec.Struct, frozen=True):
    """What one call of `sweep` did."""

    ended: int
    more: bool  # there may be more to do now
    looked: int = 0  # at so many runs, whether their deadlines have moved
    held: float = 0.0  # seconds for which nobody else could commit meanwhile


class PruneCursor(msgspec.Struct, frozen=True):
    """How far pruning has come: past the root that was created at `created_at` and has this id.

    `large` is the next root, in the same terms, if its tree is too large for one call; it is marked then. `place`: how
    far that tree has been looked through; None: to its end, and it is being taken apart. `width`: how many trees seem
    to fit into a call; 0: nothing is known of that. `whole`: every root is looked at, also where long stretches of
    history are other namespaces'.
    """

    created_at: int = -1
    id: bytes = b""
    width: int = 0
    large: tuple[int, bytes] | None = None
    place: tuple[bytes, bytes] | None = None
    whole: bool = False


class Pruned(msgspec.Struct, frozen=True):
    """How many runs one call of `prune` deleted, and where the next one goes on; None: there was nothing more, or
    somebody else is at it."""

    runs: int
    cursor: PruneCursor | None


class PruneCount(msgspec.Struct, frozen=True):
    """How much there is to prune."""

    trees: int
    runs: int


class StoreReport(msgspec.Struct, frozen=True):
    """What `fanwood doctor` says of a store."""

    url: str
    kind: str
    version: str
    schema: int
    durability: str
    durable: bool
    size: int  # bytes
    now: int
    counts: dict[RunState, int]  # of all states if `counted`, else of those of unfinished runs
    counted: bool
    orphans: list[bytes]
    problems: list[str]


class Serving(msgspec.Struct, frozen=True):
    """A live worker that serves a task. `own`: only below roots of its own program. `running`: runs that it has, those
    included which wait for children, and hold no slot."""

    id: int
    name: str
    slots: int
    own: bool
    running: int


class Holding(msgspec.Struct, frozen=True):
    """The worker of a run. `lease_expires_at`: 0 if it has none any more. `running`: what it holds, as far as that is
    counted."""

    id: int
    name: str
    slots: int
    lease_expires_at: int
    running: int = 0


class Living(msgspec.Struct, frozen=True):
    """A child that has not ended."""

    id: bytes
    task: str
    state: RunState
    created_at: int
    started_at: int | None


class Pause(msgspec.Struct, frozen=True):
    """What is below a run, and the run itself, is paused."""

    run_id: bytes
    root_id: bytes
    made_at: int
    by: str


class Patched(msgspec.Struct, frozen=True):
    """Who has given a run its output by hand, and when."""

    by: str
    at: int


class Circumstances(msgspec.Struct, frozen=True):
    """What a run's being where it is depends on. Each look ends after a bounded number of rows."""

    run: RunRecord
    now: int
    gate: bytes | None = None
    """The ancestor whose end closed it."""
    deleting: bool = False
    place: int | None = None
    """In its task's queue, from 1; None: further back than is looked."""
    serving: tuple[Serving, ...] = ()
    holding: Holding | None = None
    living: tuple[tuple[RunState, int], ...] = ()
    """How many of its newest children are in which state, of those that have not ended."""
    oldest: Living | None = None
    slowest: Living | None = None
    missing: int = 0
    """Of a suspended run: how many ends it needs ..."""
    awaited: int = 0
    """... of so many."""
    took: tuple[int, ...] = ()
    """How long others of its task took, in microseconds: siblings, or roots."""
    paused: Pause | None = None
    """What pauses it: itself, or the nearest above it."""
    kin: Kin | None = None
    """What it has to do with another run that is not above or below it."""
    links: int = 0
    """Of one that is shared: how many calls wait for it."""
    shared: Living | None = None
    """If the oldest is a link: what that waits for."""
    empty: tuple[Balance, ...] = ()
    """The limits of budgets above it of which nothing is left."""
    patched: Patched | None = None
    """Who has given it its output by hand."""
    mark: bytes | None = None
    """Of what waits for an event or a message: by what it is found."""
    expires_at: int | None = None
    """Of a wait: when it is given up."""
