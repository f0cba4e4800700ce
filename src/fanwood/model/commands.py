"""What an engine asks of its store in one commit, and what it is answered.

Everything that all the runs of a process want written in one moment travels as one `Batch` and is one transaction.
The records are plain and small because there may be a thousand of each in a batch.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from fanwood.model.states import OnParentEnd, RunKind, RunState


class SpawnKind(msgspec.Struct, frozen=True):
    """What the children of one bulk spawn have in common. Times are microseconds."""

    task: str
    parent_id: bytes | None = None
    parent_attempt: int = 0
    root_id: bytes | None = None  # None: the run is its own root
    depth: int = 0
    priority: int = 1
    metadata: str | None = None
    schedule_timeout: int | None = None
    deadline: int | None = None
    deadline_by: bytes | None = None  # the run that set the deadline
    on_parent_end: OnParentEnd = OnParentEnd.DEFAULT
    run_kind: RunKind = RunKind.TASK
    namespace: str = ""  # of roots with an idempotency key, which is unique in it
    program: int = 0  # of roots: that they belong to (sdk/declaring/origins.py)
    part: tuple[tuple[str, int], ...] | None = None  # each has a budget of its own: units and amounts


class Spawn(msgspec.Struct, gc=False):
    """One run to be born.

    `claimed` means: born RUNNING, on this engine's worker; the store takes it back if that worker was reaped meanwhile.

    A root with an `identity` has an idempotency key (`child_key` is its text, `input_digest` that of task and input):
    it is born only if nobody holds that key in its kind's namespace, and never claimed. Of two in one batch the first
    is born.
    """

    kind: SpawnKind
    id: bytes
    identity: bytes | None
    input: str
    index: int = 0  # how many children this attempt has spawned before
    child_key: str | None = None
    input_digest: bytes | None = None  # beside a child_key (else the identity holds it); what is shared is found by it
    claimed: bool = False

    @property
    def is_keyed_root(self) -> bool:
        """Whether it is a root with an idempotency key."""
        return self.identity is not None and self.kind.parent_id is None


class Hedge(msgspec.Struct, gc=False):
    """A second run of a child, should that not have ended after `delay` microseconds: born WAITING, if the first lives
    and has none that lives. If the first ends, it is cancelled; if it completes, it completes that with its output."""

    spawn: Spawn
    target: bytes  # the first
    delay: int


class Attach(msgspec.Struct, gc=False):
    """A child that there is already, and that the present attempt asks for (again)."""

    kind: SpawnKind
    id: bytes
    input_digest: bytes | None = None
    instead: Spawn | None = None  # what is born (under that id) should there be no such run any more


class Record(msgspec.Struct, gc=False):
    """A child that no worker executes: born in a state that needs none (`BORN`), or (`again`) put into it, as it had
    failed or been cancelled, or waits and is to wait anew. Fenced as a spawn is, and told to nobody: who asks for it
    knows.

    Any child can be born COMPLETED, as a copy of what a run had that its parent is a fork of (`life`).

    A link (`share`) is WAITING, and ends at once if what it shares has ended. One that is there (`again`) is asked for
    once more. If it closed a circle it fails, and its error has the way."""

    kind: SpawnKind
    id: bytes
    identity: bytes
    input: str  # what it is, for people
    state: RunState
    index: int = 0
    child_key: str | None = None
    output: str | None = None
    error: str | None = None
    began: int | None = None  # by the store's clock; None: with the commit
    due_at: int | None = None  # WAITING, for that
    timeout: int | None = None  # WAITING: microseconds from now on after which it fails
    again: bool = False
    awaits: bytes | None = None  # of a wait for events: its mark, without the number
    share: Spawn | None = None  # of a link: what it shares; born, as a child of the root, if there is no such run
    input_digest: bytes | None = None  # of a copy of a child that has a key, and ...
    life: str | None = None  # ... of any copy (model/forks.py)

    @property
    def attempt(self) -> int:
        """Steps are done once when they are recorded."""
        return int(self.kind.run_kind is RunKind.RECORDED)

    def expires_at(self, now: int) -> int | None:
        """When what waits has waited for too long."""
        if self.state is not RunState.WAITING:
            return None
        limits = (self.kind.deadline, None if self.timeout is None else now + self.timeout)
        return min((limit for limit in limits if limit is not None), default=None)


FEW_CHILDREN = 100
"""Whether so many children have all ended is looked at before what is below their parent is closed for nothing."""


SLEPT = "null"
"""The output of what ends because its time has come."""


class Attached(msgspec.Struct, gc=False):
    """What an `Attach`, or a root's idempotency key, found: an existing run. `matches` is False when the key belongs
    to another task or input. Whether it has contents at all: see `Committed.later`."""

    id: bytes
    state: RunState
    output: str | None
    error: str | None
    matches: bool
    task: str
    input: str


class Outcome(msgspec.Struct, gc=False):
    """How an attempt ended. `state` QUEUED means: not for good; with a `delay` the run is WAITING first.

    A retry (`retry`) charges a failure and begins a new trial; handing back charges nothing, and of a run that had not
    begun (`busy` is 0) it takes back no death either. Starting over (`renews`)
    is handing back with another input, and what the run had asked for before is nothing of its any more: what lives of
    that is closed.
    """

    run_id: bytes
    attempt: int
    state: RunState
    output: str | None = None
    error: str | None = None
    retry: bool = False
    delay: int = 0  # microseconds until it is QUEUED
    closes: bool = False  # it may have children that end with it: what is below it is closed
    busy: int = 0  # microseconds with a slot
    local: bool = True  # its parent's present attempt executes on this engine: no mail is needed
    task: str = ""
    parent: str = ""  # its id, as in `ClaimedRun`: where its present attempt is, is looked at when this is committed
    renews: bool = False  # handed back, and its run starts over: `output` is its input from now on


class Suspend(msgspec.Struct, gc=False):
    """An attempt of which all code waits: its run is to be WAITING for the ends of others, and under no worker.

    In one transaction the store counts how many of `awaited` (runs, and what their ends mean: `Awaited`) have ended. If
    those are `missing` or more, nothing is changed, and the code goes on. Else the run is suspended, and each end to
    come lowers what is missing; at nothing the run is queued. (Waking too early is harmless: who wakes looks.)
    """

    run_id: bytes
    attempt: int
    awaited: list[tuple[bytes, int]]
    missing: int
    until: int | None = None  # the limit of the attempt, at which it is queued in any case
    busy: int = 0  # microseconds with a slot
    pending: str | None = None  # whose ends its code had not been given: ids, hex, as one text


class Ended(Protocol):
    """What waiters are told of a run: read from the store (`Finished`), or as it was reported here (`Outcome`)."""

    @property
    def state(self) -> RunState: ...
    @property
    def output(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def task(self) -> str: ...


PROGRESS = "progress"
"""The level of a line that says how far a run is. Of each run the last one is kept, under the number -1."""


TEXT_CHUNK, BYTES_CHUNK = "chunk", "bytes"
"""The levels of what a task has put into its stream: text, or bytes in base64."""
TEXT_MORE, BYTES_MORE = "chunk+", "bytes+"
"""The same, of a durable run's attempt that goes on with its trial: what was put before does not come again."""
TEXTS = frozenset({TEXT_CHUNK, TEXT_MORE})
CHUNKS = TEXTS | {BYTES_CHUNK, BYTES_MORE}
FIRST_CHUNK = 2**30
"""Chunks are numbered from here on, lines below it: so each are one range. (A test knows the places in SQL.)"""


class LogLine(msgspec.Struct, gc=False):
    """One line that a task logged with `ctx.log`; or a chunk of its stream; or how far it is."""

    run_id: bytes
    attempt: int
    at: int
    level: str
    message: str


class ClaimRequest(msgspec.Struct, frozen=True):
    """Up to `limit` runs of `tasks`; `fair` of them among the oldest, whatever their priority, root and depth.

    The others are the best. With `turns` (JSON: by priority, the root that had the last one) roots of one priority have
    their turns; else one root comes after another.

    Suspects are passed by; but for an `idle` worker, which takes one suspect, and nothing beside it, if that is the
    best there is.
    """

    tasks: str  # JSON array of names
    limit: int
    fair: int = 0
    idle: bool = False
    programs: str = ""  # JSON array: only what is below roots of these programs, or of nobody's; else whatever there is
    turns: str | None = None


SUSPECT_DEATHS = 2
"""A run that was executing on so many workers in a row that died is a *suspect*: it executes alone on its worker."""

RELAPSES = 10
"""A run that had a living child when its worker died is taken to have waited, and is not charged with that death.
From the tenth attempt in a row on that is lost within `RELAPSE_WITHIN` of its beginning it is charged all the same: it
is likely to be what kills them, children or not."""
RELAPSE_WITHIN = 60_000_000
"""Microseconds."""


class ClaimedRun(msgspec.Struct, array_like=True, gc=False):
    """A run as its worker needs it. Ids are hex, as they come from the store; times are microseconds."""

    id: str
    attempt: int
    parent_id: str
    root_id: str
    depth: int
    task: str
    child_index: int | None
    child_key: str | None
    input: str
    metadata: str | None
    priority: int
    retry_count: int
    deaths: int
    deadline: int | None
    deadline_by: str
    trial_start: int = 0  # the attempt with which its present trial began
    life: str | None = None  # as it stands in the row (model/lives.py)
    wakes: int = 0  # how often it was suspended
    until: int | None = None  # the limit of the attempt that was suspended before this one
    pending: str | None = None  # whose ends its code had not been given

    @property
    def key(self) -> bytes:
        """The id in its inner form."""
        return bytes.fromhex(self.id)

    @property
    def is_suspect(self) -> bool:
        """Whether it may have killed its workers."""
        return self.deaths >= SUSPECT_DEATHS


ANSWER_BYTES = 16_000_000
"""About how many bytes of inputs or outputs an answer brings of each kind (claims, mail, watches, attaches): what is
over that comes later. (One item may be as large as may be.)"""


class Finished(msgspec.Struct, gc=False):
    """How a run ended, as those who wait for it are told."""

    state: RunState
    output: str | None
    error: str | None
    task: str = ""


class Failure(msgspec.Struct, omit_defaults=True):
    """Why a run has no output; stored as JSON beside it."""

    kind: str  # failed, cancelled, timed_out, poisoned; unserved: of a run that waits for other code than a worker had
    type: str = ""
    message: str = ""
    traceback: str = ""
    limit: str = ""  # for timed_out: schedule_timeout, execution_timeout, deadline; for a budget's: runs, usd, ...
    owner: str = ""  # the run that set the limit; of a budget's: whose budget it is (empty: a setting)
    group: list[str] = []  # for workflows: ids of the failed steps
    within: bool = False  # a budget's: it is the failed run's own, or of one below: run again, that has it anew


class Batch(msgspec.Struct):
    """All that one engine wants in one transaction, in the order in which it is done."""

    logs: list[LogLine] = []
    spawns: list[Spawn] = []
    attaches: list[Attach] = []
    records: list[Record] = []
    hedges: list[Hedge] = []  # of what is among the spawns and attaches
    marks: list[tuple[bytes, str]] = []  # of the spawns: those that are in a fork, and what they are there
    outcomes: list[Outcome] = []
    suspends: list[Suspend] = []
    deadlines: list[tuple[bytes, int, int]] = []  # attempts (run, number) whose limit is another one now, and when
    watch: list[bytes] = []
    unwatch: list[bytes] = []  # others than those
    claim: ClaimRequest | None = None
    mail: bool = False  # look into this engine's mailbox
    heard: list[bytes] = []  # closings (`Committed.closings`) that this engine has acted upon
    blocks: list[tuple[bytes, int]] = []  # large trees (roots), and for how many more of their runs room is taken

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.claim is None and not self.mail and self.only_looks

    @property
    def only_looks(self) -> bool:
        """Whether there is nothing to do but (perhaps) to look for mail, and for runs to claim."""
        return not self.records and self.only_records

    @property
    def only_records(self) -> bool:
        """Whether there are no other changes than what attempts have recorded."""
        return not (
            self.outcomes
            or self.suspends
            or self.spawns
            or self.attaches
            or self.watch
            or self.unwatch
            or self.logs
            or self.deadlines
            or self.heard
            or self.blocks
        )


class Notice(msgspec.Struct, gc=False):
    """Mail about a run that this engine claimed, or may have: it ended under its worker, or its deadline moved; or
    others have it by now."""

    run_id: bytes
    attempt: int
    state: RunState
    error: str | None
    deadline: int | None

    @property
    def over(self) -> int:
        """Attempts up to this one are over."""
        return self.attempt - 1 if self.state is RunState.RUNNING else self.attempt


class Closing(msgspec.Struct, array_like=True, frozen=True):
    """A call has closed what is below a run. Whoever has claimed runs of its tree, and not begun them, hands them back,
    and says in his next batch that he has heard. Ids are hex, as they come from the store."""

    run_id: str
    root_id: str


class Committed(msgspec.Struct):
    """The answer to a `Batch`. What isn't mentioned went as asked.

    Attempts below something that was closed are over: parents among them are `fenced_parents`, and their outcomes are
    `fenced_outcomes`, with the end that was recorded instead in `finished`.
    """

    fenced_parents: set[tuple[bytes, int]] = set()
    attached: dict[int, Attached] = {}  # by positions in the batch; without those that don't exist
    taken: dict[bytes, Attached] = {}  # roots not born, as their key was held: from the id asked for to who holds it
    fenced_outcomes: set[int] = set()  # by their positions in the batch
    going_on: set[int] = set()  # suspends by their positions: these were not, as what they wait for is there
    claimed: list[ClaimedRun] = []
    finished: dict[bytes, Finished] = {}
    later: set[bytes] = set()  # ended (watched, attached, told of), but too large for this answer: watch them again
    unknown: list[bytes] = []  # watched ids that don't exist
    mine: list[Notice] = []
    closings: list[Closing] = []
    has_more: bool = False  # there is more to claim, or more mail, than was brought
    has_closed: bool = False  # something was closed by this batch (or met, perhaps), or a deadline moved: `sweep`; or
    # links are left that are to be told of an end: `tick`
    sizes: dict[bytes, int] = {}  # of the trees in `blocks`: for how many runs engines have taken room, in all


class WorkerInfo(msgspec.Struct, frozen=True):
    """An engine as others see it. One with `slots` 0 is a client."""

    name: str
    host: str  # equal on two engines only if a pid means the same to both
    pid: int
    slots: int
    tasks: tuple[str, ...] = ()
    lease: int = 10_000_000  # microseconds
    programs: tuple[int, ...] = ()  # it serves no roots of others than these; none: of all


class TaskInfo(msgspec.Struct, frozen=True):
    """A task as it is published for programs that don't have its code."""

    name: str
    kind: str  # task, workflow, step
    description: str = ""
    priority: int = 1
    schedule_timeout: int | None = None
    metadata: str | None = None
    schema: str | None = None
    version: int = 0  # of its code (sdk/declaring/origins.py)
