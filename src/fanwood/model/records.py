"""What the store shows of its contents: rows, as frozen data. (Structs, as they are defined and made in no time.)"""

from __future__ import annotations

import msgspec

from fanwood.model.states import RunState


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
    run_at: int | None
    output: str | None
    error: str | None


class RunFilter(msgspec.Struct, frozen=True):
    """Which roots a listing shows, newest first."""

    task: str | None = None
    prefix: str | None = None  # of the task's name: the namespace
    state: RunState | None = None
    since: int = 0
    limit: int = 50


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


class Peer(msgspec.Struct, frozen=True):
    """Another engine, as far as its life is concerned."""

    id: int
    name: str
    host: str
    pid: int
    lease_expires_at: int


class PruneCursor(msgspec.Struct, frozen=True):
    """How far pruning has come: past the root that was created at `created_at` and has this id.

    `large` is the next root, in the same terms, if its tree is too large for one call, and all of it has ended.
    `width`: how many trees seem to fit into a call; 0: nothing is known of that.
    """

    created_at: int = -1
    id: bytes = b""
    width: int = 0
    large: tuple[int, bytes] | None = None


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
    counts: dict[RunState, int]
    orphans: list[bytes]
    problems: list[str]
