"""What callers have asked of the engine since its last tick, and how it becomes a `Batch`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Lock

import msgspec

from fanwood.engine.signals import Signal
from fanwood.engine.waits import Collector
from fanwood.model.commands import Attach, Attached, Batch, Hedge, LogLine, Outcome, Record, Spawn, SpawnKind, Suspend

LOG_BYTES = 4 * 1024 * 1024
"""Of lines that tasks have logged and that wait for their batch; who logs more waits."""
LOG_PART = 512 * 1024
"""About so much of that goes in one batch: whatever else is to be done waits for it, and on a busy machine for long."""
LINE_BYTES = 200
"""What a line takes beside its text."""

OnDone = Callable[[BaseException | None, dict[bytes, Attached], Sequence[Attached | None]], None]

_NOBODY: set[tuple[bytes | None, int]] = set()
BATCH_BYTES = 16 * 1024 * 1024
"""Of inputs and outputs; what is over that waits for the next batch. (One item may be as large as may be.)"""

BATCH_RECORDS = 2000
"""Of what no worker executes. However small they are: who gathers very many waits has them all handed in at once."""


class SpawnRequest(msgspec.Struct):
    """Some runs to be born, or found again, for one caller, below one parent (or none). What no worker executes
    (`records`) goes in requests of its own."""

    spawns: list[Spawn] = []
    attaches: list[Attach] = []
    records: list[Record] = []  # the collector's numbers are theirs, but for ...
    hedges: list[Hedge] = []  # of its spawns and attaches
    marks: list[tuple[bytes, str]] = []  # of its spawns
    kinds: list[SpawnKind] = []  # those that occur in it
    collector: Collector | None = None  # who wants their ends ...
    spawn_indexes: list[int] = []  # ... under which numbers
    attach_indexes: list[int] = []
    record_indexes: list[int] = []  # ... those that have others
    numbers: list[tuple[bytes, int]] = []  # of what has no key, by content: the caller's, to take them back
    needed: bool = False  # nobody waits for it; if it can't be, the attempt fails
    watch: bool = False  # roots: somebody else may execute them, and must know that we wait
    on_done: OnDone | None = None

    @property
    def parent(self) -> tuple[bytes | None, int]:
        """The attempt that spawns them."""
        kind = (self.spawns or self.attaches or self.records)[0].kind
        return kind.parent_id, kind.parent_attempt

    def answer(
        self,
        error: BaseException | None,
        taken: dict[bytes, Attached] | None = None,
        attached: Sequence[Attached | None] = (),
    ) -> None:
        """Tell the caller that it is committed, or why it can't be; with the holders of keys that were `taken`, and
        what was found for each attach."""
        if self.on_done is not None:
            self.on_done(error, taken or {}, attached)
        elif error is not None and self.collector is not None:
            self.collector.fail(error)


JOINT_BYTES = 1024 * 1024
"""Of what is written together."""


class Joint(SpawnRequest):
    """Steps of one attempt, written together as they come: whoever has one more adds it (`Engine.join`) until they are
    taken. Each is answered by itself, and goes by itself if the store refuses one of them."""

    told: list[Callable[[BaseException | None], None]] = []
    size: int = 0
    taken: bool = False

    def answer(
        self,
        error: BaseException | None,
        taken: dict[bytes, Attached] | None = None,  # noqa: ARG002  (of runs)
        attached: Sequence[Attached | None] = (),  # noqa: ARG002
    ) -> None:
        """Tell all of them."""
        for tell in self.told:
            tell(error)

    def apart(self) -> list[SpawnRequest]:
        """Each by itself."""
        return [Joint(records=[r], told=[t], taken=True) for r, t in zip(self.records, self.told, strict=True)]


class SuspendRequest(msgspec.Struct, frozen=True):
    """An attempt is to be suspended. On the engine's thread: `make` says what is asked of the store (None: nothing any
    more), and `on_done` is told whether the attempt is over by that."""

    make: Callable[[], Suspend | None]
    on_done: Callable[[bool], None]


class Limit(msgspec.Struct, frozen=True):
    """When an attempt that executes here must have ended; None: it has."""

    run: str
    attempt: int
    when: int | None


@dataclass(slots=True)
class Inbox:
    """Filled by any thread, emptied by the engine's. Deques: appending and emptying need no lock."""

    spawns: deque[SpawnRequest] = field(default_factory=deque[SpawnRequest])
    records: deque[SpawnRequest] = field(default_factory=deque[SpawnRequest])
    outcomes: deque[list[Outcome]] = field(default_factory=deque[list[Outcome]])
    logs: deque[LogLine] = field(default_factory=deque[LogLine])
    watches: deque[tuple[Sequence[bytes], Collector, Sequence[int]]] = field(
        default_factory=deque[tuple[Sequence[bytes], Collector, Sequence[int]]]
    )
    looks: deque[Signal] = field(default_factory=deque[Signal])  # to be fired when the watches before were looked at
    given_up: deque[tuple[Iterable[bytes], Collector]] = field(default_factory=deque[tuple[Iterable[bytes], Collector]])
    deadlines: deque[tuple[bytes, int, int]] = field(default_factory=deque[tuple[bytes, int, int]])
    limits: deque[Limit] = field(default_factory=deque[Limit])
    heard: deque[bytes] = field(default_factory=deque[bytes])
    suspends: deque[SuspendRequest] = field(default_factory=deque[SuspendRequest])
    suspending: dict[tuple[bytes, int], SuspendRequest] = field(
        default_factory=dict[tuple[bytes, int], SuspendRequest]
    )  # those whose answers are on their way
    behind: set[tuple[bytes | None, int]] = field(default_factory=set[tuple[bytes | None, int]])
    progress: dict[bytes, LogLine] = field(default_factory=dict[bytes, LogLine])  # how far attempts are, if they say
    _joining: Lock = field(default_factory=Lock)
    _log_bytes: int = 0
    _waits: int = 0  # so many times, one after another, an end waited for lines
    _log_room: Condition = field(default_factory=Condition)
    _closed: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.outcomes
            or self.spawns
            or self.records
            or self.watches
            or self.looks
            or self.logs
            or self.deadlines
            or self.limits
            or self.heard
            or self.given_up
            or self.suspends
        )

    def add_log(self, line: LogLine, patience: float | None) -> bool:
        """A line that a task logged; whether there was room for it, after so many seconds at most (None: any)."""
        with self._log_room:
            if self._log_bytes >= LOG_BYTES and not self._closed:
                self._log_room.wait_for(lambda: self._log_bytes < LOG_BYTES or self._closed, patience)
            if self._log_bytes >= LOG_BYTES or self._closed:
                return False
            self._log_bytes += LINE_BYTES + len(line.message)
            self.logs.append(line)
            return True

    def _take_logs(self, batch: Batch) -> None:
        with self._log_room:
            if self._log_bytes <= LOG_PART:
                batch.logs += self.logs
                self.logs.clear()
                self._log_bytes = 0
            else:
                self._take_lines(batch)
            self._log_room.notify_all()

    def _take_all(self, batch: Batch) -> None:
        with self._log_room:
            batch.logs += self.logs
            self.logs.clear()
            self._log_bytes = 0
            self._log_room.notify_all()

    def _take_lines(self, batch: Batch) -> None:
        """As many of the first as fit, one at least; ends of attempts that have said more wait for that."""
        size = 0
        while self.logs and (size < LOG_PART or self._waits == LOG_BYTES // LOG_PART):
            batch.logs.append(line := self.logs.popleft())
            size += LINE_BYTES + len(line.message)
        self._log_bytes -= size
        left = {(line.run_id, line.attempt) for line in self.logs} if batch.outcomes else _NOBODY
        ends = [end for end in batch.outcomes if (end.run_id, end.attempt) in left]
        self._waits = self._waits + 1 if ends else 0  # (code that goes on though its run is over may say more for ever)
        if ends:
            batch.outcomes = [end for end in batch.outcomes if (end.run_id, end.attempt) not in left]
            self.outcomes.appendleft(ends)

    def take_progress(self, batch: Batch, *, due: bool) -> bool:
        """How far runs are, into `batch`: now and then, and in any case with their ends. Whether anything was."""
        if not due and not any(outcome.run_id in self.progress for outcome in batch.outcomes):
            return False
        batch.logs += [self.progress.pop(run_id) for run_id in list(self.progress)]  # (others add, nobody else takes)
        return True

    def refuse_roots(self, error: BaseException) -> None:
        """Nothing can be committed for now: who starts something new is told, and all else waits."""
        requests = [self.spawns.popleft() for _ in range(len(self.spawns))]
        self.spawns.extendleft(request for request in reversed(requests) if request.parent[0] is not None)
        for request in requests:
            if request.parent[0] is None:
                request.answer(error)

    def fail_all(self, error: BaseException) -> None:
        """From any thread: nobody will look in here any more."""
        with self._log_room:
            self._closed = True
            self._log_room.notify_all()
        with suppress(IndexError):  # another thread may be at it as well
            while self.spawns:
                self.spawns.popleft().answer(error)
        for request in self._all_records():
            request.answer(error)
        with suppress(IndexError):
            while self.watches:
                self.watches.popleft()[1].fail(error)
        with suppress(IndexError):
            while self.looks:
                self.looks.popleft().fire()

    def empty_into(self, batch: Batch) -> int:
        """All commands but the spawns become part of `batch`; the bytes that are left for those."""
        # Before the spawns are looked at: so that what a run spawned before it ended is never left behind for a later
        # batch. (But for large inputs and what is held back; and who spawns those waits for the answer, or for their
        # ends.)
        size = 0
        while self.outcomes and size < BATCH_BYTES:
            outcomes = self.outcomes.popleft()
            bytes_ = sum([len(outcome.output) for outcome in outcomes if outcome.output is not None])
            if bytes_ > BATCH_BYTES:  # what ended in one turn of a loop may be more than fits
                outcomes, bytes_ = self._part(outcomes)
            batch.outcomes += outcomes
            size += bytes_
        if self.logs:  # after the ends: what a run has said, on a thread of its own, is never left behind by its end
            self._take_logs(batch)
        while self.deadlines:
            batch.deadlines.append(self.deadlines.popleft())
        return BATCH_BYTES - size

    def add_record(self, request: SpawnRequest) -> None:
        """From any thread, but not while it is looked who stands there (a deque is not to be changed meanwhile)."""
        with self._joining:
            self.records.append(request)

    def take_records(self, size: int) -> list[SpawnRequest]:
        """Requests for what no worker executes, with about so many bytes in all, and not too many: no room for runs is
        asked for. Whose were not taken for that is in `behind` then."""
        taken: list[SpawnRequest] = []
        room = BATCH_RECORDS
        with self._joining:
            while self.records and ((size > 0 and room > 0) or not taken):
                taken.append(request := self.records.popleft())
                if isinstance(request, Joint):
                    request.taken = True
                size -= sum([len(record.output or "") + len(record.input) for record in request.records])
                room -= len(request.records)
            self.behind = {request.parent for request in self.records} if size <= 0 or room <= 0 else _NOBODY
        return taken

    def put_back(self, batch: Batch, spawns: list[SpawnRequest]) -> list[SpawnRequest]:
        """What attempts asked for after what they have recorded must not go before it: if they were lost in between,
        the next ones would find the one without the other. Of the `spawns` those that go on."""
        behind = self.behind
        ends = [outcome for outcome in batch.outcomes if (outcome.run_id, outcome.attempt) in behind]
        if ends:
            batch.outcomes = [each for each in batch.outcomes if (each.run_id, each.attempt) not in behind]
            self.outcomes.appendleft(ends)
        self.spawns.extendleft(request for request in reversed(spawns) if request.parent in behind)
        return [request for request in spawns if request.parent not in behind]

    def _all_records(self) -> list[SpawnRequest]:
        """Nobody takes them any more."""
        requests: list[SpawnRequest] = []
        with self._joining, suppress(IndexError):  # another thread may be at it as well
            while self.records:
                requests.append(request := self.records.popleft())
                if isinstance(request, Joint):
                    request.taken = True
        return requests

    def join(self, joint: Joint, record: Record, tell: Callable[[BaseException | None], None]) -> bool:
        """One more record for a request that was handed in; whether it was in time."""
        with self._joining:
            if joint.taken or joint.size > JOINT_BYTES or len(joint.records) >= BATCH_RECORDS:
                return False
            joint.records.append(record)
            joint.told.append(tell)
            joint.size += len(record.input) + len(record.output or "")
        return True

    def take_suspends(self, batch: Batch) -> None:
        """What may be unloaded, as it is now: after all that those attempts have asked for before."""
        while self.suspends:
            request = self.suspends.popleft()
            command = request.make()
            if command is None:
                request.on_done(False)
            else:
                batch.suspends.append(command)
                self.suspending[command.run_id, command.attempt] = request
        if batch.suspends and self.logs:  # what such an attempt has said is not left behind either
            self._take_all(batch)

    def tell_suspended(self, batch: Batch, going_on: set[int]) -> None:
        """The store has decided."""
        for number, command in enumerate(batch.suspends):
            request = self.suspending.pop((command.run_id, command.attempt), None)
            if request is not None:
                request.on_done(number not in going_on)

    def _part(self, outcomes: list[Outcome]) -> tuple[list[Outcome], int]:
        """As many of the first as fit (one at least), and their size; the others are put back."""
        size = 0
        for number, outcome in enumerate(outcomes, 1):
            size += len(outcome.output or "")
            if size >= BATCH_BYTES and number < len(outcomes):
                self.outcomes.appendleft(outcomes[number:])
                return outcomes[:number], size
        return outcomes, size
