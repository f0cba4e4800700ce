"""What a lens shows, as it goes over the wire: frozen data, JSON by msgspec, and nothing that grows with a tree.

Times are microseconds by the store's clock, durations microseconds, rates a second. Ids are texts. What is zero, null
or empty is left out of the JSON (`omit_defaults`).
"""

from __future__ import annotations

from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all of them."""


class Counts(View, frozen=True):
    """How many runs are in which state."""

    queued: int = 0
    running: int = 0
    waiting: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


class ErrorBrief(View, frozen=True):
    """Why a run has no output, without its traceback."""

    kind: str
    type: str = ""
    message: str = ""


class KinView(View, frozen=True):
    """What a run has to do with another one that is not above or below it. `shares`: it is a call's link to that one,
    which is shared. `helps`: it is a hedge of that one. `helped`: that one is its hedge. `shared`: it is shared."""

    how: str
    id: str
    task: str
    state: str


class MadeView(View, frozen=True):
    """What a run is in a fork. `how`: "fork", "copy" or "again"; `of`: which run it was made of."""

    how: str
    of: str


class RunBrief(View, frozen=True):
    """A run in a list. `preview` is how its input begins; empty for who may not see payloads."""

    id: str
    root_id: str
    task: str
    state: str  # lower case: as in Counts
    kind: str  # task, workflow, step, batch
    depth: int
    created_at: int
    parent_id: str | None = None
    key: str | None = None
    priority: int = 0
    attempt: int = 0
    retries: int = 0
    deaths: int = 0
    worker: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    due_at: int | None = None
    waits: str | None = None
    deadline: int | None = None
    busy: int = 0
    error: ErrorBrief | None = None
    preview: str = ""
    is_suspended: bool = False  # its code is unloaded while it waits for others
    kin: KinView | None = None
    made: MadeView | None = None


class Histogram(View, frozen=True):
    """How long ended runs took: `counts[i]` took from `2 ** ((first + i) / 2)` microseconds to the next such step."""

    first: int = 0
    counts: tuple[int, ...] = ()


class TaskView(View, frozen=True):
    """All runs of one task in a tree. Percentiles are upper bounds of classes of the histogram; `slowest` is exact."""

    task: str
    counts: Counts
    took: Histogram = Histogram()
    p50: int | None = None
    p95: int | None = None
    p99: int | None = None
    slowest: int | None = None
    busy: int = 0
    serving: int = 0  # live workers that serve it


class PathView(View, frozen=True):
    """All runs whose ancestors have the same tasks. Recursion is folded: what calls itself stays one path, `folded`
    levels deep. A path's parent comes before it: `parent` is its place in the list, -1 the root's."""

    task: str
    parent: int
    counts: Counts
    busy: int = 0
    folded: int = 0
    depths: tuple[int, ...] = ()  # of a folded path: how many runs are on each level


class Strip(View, frozen=True):
    """Ended runs by bins of time: bin `i` begins at `start + i * width`. `running`: how many were under way at its
    end."""

    start: int
    width: int
    completed: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    cancelled: tuple[int, ...] = ()
    running: tuple[int, ...] = ()


class Cluster(View, frozen=True):
    """Failures of one kind: type, and message with its numbers, quoted texts and addresses taken out."""

    key: str  # stable over looks: what a filter `cluster=` names
    type: str
    message: str
    count: int
    first: int
    last: int
    tasks: tuple[str, ...] = ()
    examples: tuple[RunBrief, ...] = ()  # three


class TreeView(View, frozen=True):
    """The whole picture of one tree (or of a part of it, if something was asked for: `where`)."""

    root: RunBrief
    version: str  # epoch.number: of the lens, and of this picture
    as_of: int
    done: float  # of 1: how much of the tree has been read
    counts: Counts
    is_final: bool = False  # the root has ended, and so has everything below it
    waits: Counts = Counts()  # sleeps, events, recorded steps: no runs
    rate: float = 0.0  # ends a second, over the last 30 s
    eta: tuple[float, float] | None = None  # seconds, from ... to
    eta_at_least: bool = False  # parents may still spawn
    is_stalled: bool = False
    slots: int = 0  # of the live workers that serve its tasks
    in_flight: int = 0  # of those, as many as execute runs of this tree
    oldest_queued: int | None = None
    busy: int = 0
    strip: Strip | None = None
    tasks: tuple[TaskView, ...] = ()
    paths: tuple[PathView, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    unserved: tuple[str, ...] = ()  # tasks with queued runs that no live worker serves


class FamilyView(View, frozen=True):
    """The children of one run that have one task: a line of the tree table, if there are more than 20."""

    task: str
    counts: Counts
    p50: int | None = None
    p95: int | None = None
    slowest: int | None = None
    more: bool = False  # there are more than were looked at


class ChildrenView(View, frozen=True):
    """What is right below a run. Families of up to 20 are given run by run, each with how many children it has."""

    parent: RunBrief
    families: tuple[FamilyView, ...] = ()
    runs: tuple[RunBrief, ...] = ()  # of the small families, in the order of their spawning
    parents: dict[str, Counts] = {}  # those of `runs` that have children: their counts, no more than of a segment
    waits: dict[str, int] = {}  # those of `runs` that have waits and recorded steps: how many, no more than a segment


class RunsPage(View, frozen=True):
    """Some of a list. `after` is where it goes on."""

    runs: tuple[RunBrief, ...] = ()
    after: str | None = None
    counts: dict[str, Counts] = {}  # of trees: by root
    failures: dict[str, int] = {}  # of trees that completed: how many runs below failed, as far as 500
    at_least: tuple[str, ...] = ()  # roots of trees so large that `counts` is of some of their runs


class Lane(View, frozen=True):
    """A row of the waterfall."""

    run: RunBrief
    level: int
    why: str  # focus, slow, failed, sample


class Waterfall(View, frozen=True):
    """The way to a run, and of each level some examples."""

    start: int
    end: int
    lanes: tuple[Lane, ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()  # in which nothing happens


class CriticalStep(View, frozen=True):
    """A run on the path that made the tree long: of each family the one that ended last (or has not ended)."""

    run: RunBrief
    own: int  # microseconds in which it waited for nobody on the path below it
    siblings: int = 0


# --- one run ---------------------------------------------------------------------------------------------------------


class ErrorDetail(View, frozen=True):
    """Why a run has no output, or why an attempt failed."""

    kind: str
    type: str = ""
    message: str = ""
    traceback: str = ""
    limit: str = ""  # which one ran out
    owner: str = ""  # whose


class AttemptView(View, frozen=True):
    """One attempt of a run."""

    number: int
    state: str
    worker: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    error: ErrorDetail | None = None


class PausedBrief(View, frozen=True):
    """What pauses a run: itself, or the nearest above it."""

    run_id: str
    by: str
    since: int


class ForkBrief(View, frozen=True):
    """What a run is in a fork. `how`: "fork", its code takes what `of` had finished; "copy", it has completed as `of`
    had, and nothing was executed; "again", it is in the place of `of`, and takes nothing of it. `at`: of a root, the
    run from which on nothing is taken. `changed`: it (or `at`) has another input."""

    how: str
    of: str
    at: str | None = None
    changed: bool = False
    by: str = ""
    made_at: int = 0


class LimitView(View, frozen=True):
    """A limit that holds for a run: `run_id` is whose budget it is. Amounts are texts, as they are exact. Of `depth`
    only `amount` says something."""

    run_id: str
    unit: str  # runs, depth, seconds, or a unit of the budget's own
    amount: str
    used: str = "0"
    held: str = "0"  # reserved, or in parts of children
    left: str = "0"


class SpentView(View, frozen=True):
    """What one run of a tree has spent of one unit."""

    run_id: str
    unit: str
    amount: str
    task: str = ""


class BudgetView(View, frozen=True):
    """What holds for a run, and who has spent most in its tree."""

    limits: tuple[LimitView, ...] = ()
    spent: tuple[SpentView, ...] = ()  # of each unit some, the largest amounts first
    spent_is_cut: bool = False  # there are more spends than were looked at


class RunDetail(View, frozen=True):
    """A run, without what went in and came out: what is above, beside and below it."""

    run: RunBrief
    ancestors: tuple[RunBrief, ...] = ()  # the root first
    attempts: tuple[AttemptView, ...] = ()
    error: ErrorDetail | None = None
    deadline_by: str | None = None  # who set its deadline
    families: tuple[FamilyView, ...] = ()  # all of them, whatever their size
    before: tuple[RunBrief, ...] = ()  # siblings, in the order of their spawning: the nearest last
    after: tuple[RunBrief, ...] = ()  # the nearest first
    has_output: bool = False
    metadata_keys: tuple[str, ...] = ()
    has_stream: bool = False  # it has given out chunks (ctx.put_stream)
    paused: PausedBrief | None = None
    budget: tuple[LimitView, ...] = ()
    spent: tuple[SpentView, ...] = ()  # who has spent most in its tree, of each unit
    spent_is_cut: bool = False  # there are more spends than were looked at
    started_over: int = 0  # so often, by `ctx.start_over`
    started_over_at: int | None = None
    fork: ForkBrief | None = None
    forks: tuple[str, ...] = ()  # that were made of it, the newest first
    version: str | None = None  # of the code that began it, where a durable task has one


class LogLineView(View, frozen=True):
    """A line that a task logged."""

    seq: int
    attempt: int
    at: int
    level: str
    message: str


class LogsPage(View, frozen=True):
    """Some of what a run logged. `after` goes on from there, also when there is nothing more yet."""

    after: int
    lines: tuple[LogLineView, ...] = ()
    has_ended: bool = False  # nothing more will come


class WhyView(View, frozen=True):
    """Why a run is where it is, as `fanwood why` says it."""

    run_id: str
    task: str
    state: str
    cause: str
    text: str
    command: str | None = None
    facts: dict[str, Any] = {}


# --- tasks, workers, the store ---------------------------------------------------------------------------------------


class TaskLine(View, frozen=True):
    """A task that was ever published. What ended and how long it took is told from some runs of the last hour."""

    name: str
    kind: str
    description: str = ""
    priority: int = 1
    schema: str | None = None  # of its input: JSON
    serving: int = 0  # live workers
    queued: int = 0  # at most `TasksView.most`
    running: int = 0
    ended: int = 0  # of those that were looked at
    failed: int = 0  # of these
    rate: float = 0.0  # ends a second, of as many as run now
    p50: int | None = None
    p95: int | None = None


class TasksView(View, frozen=True):
    """All of them."""

    as_of: int
    tasks: tuple[TaskLine, ...] = ()
    most: int = 0  # runs of a queue that are counted


class WorkerLine(View, frozen=True):
    """A worker, or a client (without slots)."""

    id: int
    name: str
    host: str
    pid: int
    started_at: int
    lease_expires_at: int
    slots: int = 0
    running: int = 0
    is_live: bool = False
    tasks: tuple[str, ...] = ()
    runs: tuple[RunBrief, ...] = ()  # some of what it executes


class WorkersView(View, frozen=True):
    """All of them."""

    as_of: int
    workers: tuple[WorkerLine, ...] = ()


class StoreView(View, frozen=True):
    """What `fanwood doctor` says of a store in a moment."""

    url: str
    kind: str
    version: str
    schema: int
    now: int
    size: int
    durability: str
    durable: bool = False
    counts: Counts = Counts()  # of what has not ended
    unserved: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    replica: str = ""  # where trees and lists are read, if that is another database
    lag: int | None = None  # by how much it is behind, if it says so
