"""What the store shows of its contents: rows, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanwood.model.states import RunState


@dataclass(frozen=True, slots=True)
class RunRecord:
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


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which roots a listing shows, newest first."""

    task: str | None = None
    prefix: str | None = None  # of the task's name: the namespace
    state: RunState | None = None
    since: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class TaskCount:
    """How many runs of one task are in one state, below one run; of children also how long they took."""

    task: str
    state: RunState
    count: int
    first: int | None
    last: int | None
    fastest: int | None = None
    slowest: int | None = None


@dataclass(frozen=True, slots=True)
class TreeRun:
    """A run picked out of a tree: one of the slowest, or a failed one."""

    id: bytes
    task: str
    input: str
    took: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A line that a task logged."""

    seq: int
    attempt: int
    at: int
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkerRecord:
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


@dataclass(frozen=True, slots=True)
class Peer:
    """Another engine, as far as its life is concerned."""

    id: int
    name: str
    host: str
    pid: int
    lease_expires_at: int


@dataclass(frozen=True, slots=True)
class StoreReport:
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
