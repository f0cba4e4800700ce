"""The one way in which runs end, and the one in which they are queued; and what is closed.

Whatever the cause, a run leaves its state through `end`, `end_closed`, `queue` or `promote`. Here, and nowhere else,
stands what goes with it: the fence, mail, watches, and that nothing is queued below a closed run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fanwood.model.commands import FEW_CHILDREN, SLEPT
from fanwood.model.states import (
    FIRST_WAIT,
    WAITS_OF,
    Awaited,
    Cause,
    EndedBy,
    GateKind,
    OnParentEnd,
    Open,
    RunState,
    Waits,
)
from fanwood.store.memory.budgets import Budgets
from fanwood.store.memory.tables import Gate, Past, Suspended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fanwood.model.commands import Record, Suspend
    from fanwood.store.memory.tables import Run, Tables

KEPT_ATTEMPTS = 100
"""So many of a run's attempts, the last ones, are remembered."""

ALL, THOSE_THAT_END = 0, 1
"""`Gate.which`: all children, but for those that were spawned to go on; or only those that end with their parent."""


class Ending(NamedTuple):
    """A run that ends."""

    id: bytes
    attempt: int
    before: int  # the state that it leaves
    state: RunState
    output: str | None
    error: str | None
    by: EndedBy
    busy: int = 0
    tell_parent: bool = True  # else the engine itself does


class Queueing(NamedTuple):
    """A run that is to be queued, or to wait for `delay` microseconds first."""

    id: bytes
    attempt: int
    before: int
    cause: Cause
    delay: int = 0
    charge: int = 0  # LEASE_LOST: whether it was executing
    error: str | None = None
    busy: int = 0
    deadline: int | None = None  # REPLAY: its new one ...
    deadline_by: bytes | None = None  # ... and whose that is


class Leaving:
    """The ways out and in, of one memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.budgets = Budgets(tables)
        self.woken = False  # somebody who was suspended was queued, or a link has ended
        self.has_closed = False  # something was closed by that nobody shares it any more
        self.is_telling = False  # links are left that are to be told of an end
        self.unlink: Callable[[int, Run], None] | None = None  # what an end means to links (sharing.py) ...
        self.helped: Callable[[int, Run], None] | None = None  # ... and to hedges (hedging.py)

    # --- out -------------------------------------------------------------------------------------------------------

    def end(self, me: int, now: int, endings: Sequence[Ending]) -> list[int]:
        """Runs end; the numbers of those that had left their state before. `me` needs no mail of it. All end before
        anything comes of it: which of two ends of one run counts does not depend on their order."""
        refused: list[int] = []
        ended: list[Run] = []
        for number, ending in enumerate(endings):
            run = self._tables.runs.get(ending.id)
            if run is None or not run.is_at(ending.before, ending.attempt):
                refused.append(number)
                continue
            died = ending.by is EndedBy.POISON and run.attempt > 0  # (not what is a link to such a run)
            self._tables.change(
                run, state=int(ending.state), output=ending.output, error=ending.error, busy=run.busy + ending.busy,
                ended_by=int(ending.by), deaths=run.deaths + died, finished_at=now,
                expires_at=None, waits=None, due_at=None,
            )  # fmt: skip
            ended.append(run)
            self._waits_no_more(run)
            self.budgets.even_out(run)
            self._tell(me, run, parent=ending.tell_parent)
            if ending.before == RunState.RUNNING and ending.by is not EndedBy.OUTCOME:
                self.tell_holder(run)
        self._count(now, ended)
        return refused

    def suspend(self, asked: Suspend) -> bool:
        """A run whose code waits is unloaded; False: it goes on, as what it waits for has come. (Of an attempt that is
        over nothing is changed, and it does not go on.)"""
        tables = self._tables
        run = tables.runs.get(asked.run_id)
        if run is None or not run.is_at(RunState.RUNNING, asked.attempt):
            return True
        runs = {id_: tables.runs.get(id_) for id_, _ in asked.awaited}
        over = [(runs[id_], weight) for id_, weight in asked.awaited if (there := runs[id_]) is None or there.is_over]
        if len(over) >= asked.missing or any(wakes(one, weight) for one, weight in over) or self.closed(run):
            return False
        before = tables.suspended.get(run.id)
        missing = asked.missing - len(over)
        living = [(id_, weight) for id_, weight in asked.awaited if (one := runs[id_]) is not None and not one.is_over]
        tables.suspended[run.id] = Suspended(
            asked.attempt,
            before.wakes + 1 if before else 1,
            missing,
            asked.until,
            [id_ for id_, _ in living],
            asked.pending,
        )
        for id_, weight in living:
            tables.awaited.setdefault(id_, {})[run.id] = weight
        tables.change(
            run, state=int(RunState.WAITING), waits=int(Waits.CHILDREN), due_at=asked.until, deaths=0,
            busy=run.busy + asked.busy, expires_at=run.deadline,
        )  # fmt: skip
        self.budgets.even_out(run)
        return True

    def _count(self, now: int, ended: Sequence[Run]) -> None:
        """After ends: what they mean to hedges, to what is shared, and to those who are suspended."""
        tables, helped, unlink = self._tables, self.helped, self.unlink
        if tables.hedges and helped is not None:
            for run in ended:
                helped(now, run)
        if tables.open and unlink is not None:
            for run in ended:
                unlink(now, run)
        for run in ended if tables.suspended else ():
            self._wake(now, run)

    def _waits_no_more(self, run: Run) -> None:
        """It has ended: before anything comes of that, it is not among those who wait."""
        if self._tables.suspended:
            self._forget(run.id)
            self._tables.suspended.pop(run.id, None)

    def _wake(self, now: int, run: Run) -> None:
        """An end: those who are suspended and wait for it are told."""
        tables = self._tables
        for waiter, weight in sorted(tables.awaited.pop(run.id, {}).items()):
            entry, above = tables.suspended[waiter], tables.runs[waiter]
            entry.missing = 0 if wakes(run, weight) else entry.missing - 1
            if entry.missing <= 0:
                self.woken = True
                self.promote(now, [above])

    def _forget(self, waiter: bytes) -> None:
        """It waits for nothing any more."""
        tables = self._tables
        entry = tables.suspended.get(waiter)
        for id_ in entry.awaits if entry is not None else ():
            waiters = tables.awaited.get(id_, {})
            waiters.pop(waiter, None)
            if not waiters:
                tables.awaited.pop(id_, None)
        if entry is not None:
            entry.awaits = []

    def _tell(self, me: int, run: Run, *, parent: bool) -> None:
        """Who waits for an end: the worker of the parent, and whoever watches."""
        tables = self._tables
        above = tables.runs.get(run.parent_id) if run.parent_id is not None and parent else None
        told = list(tables.watchers.pop(run.id, ()))
        if above is not None and above.state == RunState.RUNNING and above.worker_id is not None:
            told.append(above.worker_id)
        for worker in told:
            if worker != me:
                tables.write(worker, run.id)

    def tell_holder(self, run: Run) -> None:
        """Something has happened to a run that somebody executes: tell him."""
        if run.worker_id is not None:
            self._tables.write(run.worker_id, run.id)

    # --- in --------------------------------------------------------------------------------------------------------

    def queue(self, now: int, queueings: Sequence[Queueing]) -> list[int]:
        """Runs are queued; the numbers of those that had left their state before. What is closed is cancelled
        instead."""
        refused: list[int] = []
        for number, queueing in enumerate(queueings):
            run = self._tables.runs.get(queueing.id)
            if run is None or not run.is_at(queueing.before, queueing.attempt):
                refused.append(number)
                continue
            closed = self.closed(run)
            if closed is not None:
                how = (RunState.CANCELLED, None, closed, EndedBy.ANCESTOR, queueing.busy)
                self.end(0, now, [Ending(run.id, run.attempt, run.state, *how)])
            else:
                if queueing.cause is Cause.REPLAY:
                    self.budgets.again(run.id)
                self._keep_attempt(now, run, queueing)
                self._queue(now, run, queueing)
                self.budgets.even_out(run)
        return refused

    def _queue(self, now: int, run: Run, queueing: Queueing) -> None:
        cause, waits = queueing.cause, queueing.delay > 0
        replayed = cause is Cause.REPLAY
        if replayed and (shared := self._tables.shared_of.get(run.id)) is not None:
            self._tables.reopen(shared, Open.LIVING)
        deadline = queueing.deadline if replayed else run.deadline
        patience = None if run.schedule_timeout is None else now + queueing.delay + run.schedule_timeout
        limits = [limit for limit in (deadline, patience) if limit is not None]
        self._tables.change(
            run,
            state=int(RunState.WAITING if waits else RunState.QUEUED),
            waits=int(Waits.TIME) if waits else None,
            due_at=now + queueing.delay if waits else None,
            retry_count=0 if replayed else run.retry_count + (cause is Cause.RETRY),
            trial_start=run.attempt + 1 if replayed or cause is Cause.RETRY else run.trial_start,
            deaths=_deaths(run, queueing),
            output=None,
            error=None if replayed else queueing.error or run.error,
            busy=run.busy + queueing.busy,
            ended_by=None,
            finished_at=None,
            deadline=deadline,
            deadline_by=queueing.deadline_by if replayed else run.deadline_by,
            expires_at=min(limits, default=None),
            limit_at=None if run.limit_at is None or not self._has_living(run) else run.limit_at,
        )

    def _has_living(self, run: Run) -> bool:
        """Whether any of its children may live (of many nobody looks): it may not have been told of the limit that this
        run had, which is no later attempt's, and else forgotten."""
        children = self._tables.order("children", run.id).first(FEW_CHILDREN + 1)
        return len(children) > FEW_CHILDREN or any(not self._tables.runs[id_].is_over for id_ in children)

    def _keep_attempt(self, now: int, run: Run, queueing: Queueing) -> None:
        """What is known of an attempt after which a run goes on; nothing of one that was handed back."""
        if queueing.cause is Cause.HAND_BACK or run.attempt == 0:
            return
        kept = self._tables.past.setdefault(run.id, {})
        worker = self._tables.workers.get(run.worker_id or 0)
        error = {Cause.RETRY: queueing.error, Cause.REPLAY: run.error}.get(queueing.cause)
        state = run.state if run.is_over else int(RunState.FAILED)
        name, due = None if worker is None else worker.info.name, now + queueing.delay
        past = Past(run.id, run.attempt, run.worker_id, name, state, run.started_at, run.finished_at or now, due, error)
        kept.setdefault(run.attempt, past).due_at = due  # (it may be there: one that never began, and is replayed)
        for number in [number for number in kept if number <= run.attempt - KEPT_ATTEMPTS]:
            del kept[number]

    def promote(self, now: int, due: Iterable[Run]) -> None:
        """As `queue`, for runs whose time has come."""
        for run in due:
            if self.end_closed(now, [run]):
                continue
            if run.kind >= FIRST_WAIT:
                self.fire(now, run, EndedBy.OUTCOME)
            else:
                self._forget(run.id)
                self._tables.change(run, state=int(RunState.QUEUED), waits=None, due_at=None)

    def fire(self, now: int, run: Run, by: EndedBy) -> None:
        """What waits for a time, and has no code, ends."""
        self.fulfil(now, run, RunState.COMPLETED, SLEPT, None, by)

    def fulfil(
        self, now: int, run: Run, state: RunState, output: str | None, error: str | None, by: EndedBy = EndedBy.CALL
    ) -> None:
        """What a run waits for has come, and was this."""
        self.end(0, now, [Ending(run.id, run.attempt, run.state, state, output, error, by)])

    def record(self, now: int, run: Run, asked: Record, awaits: bytes | None) -> None:
        """What had failed or been cancelled, or is closed, and has no code, is done again in place; what waits may wait
        anew."""
        waits_on = run.state == asked.state == RunState.WAITING and awaits is not None
        ends = run.state in (RunState.FAILED, RunState.CANCELLED) or gate_of(self._tables, run) is not None
        if not ends and not waits_on:
            return
        waits, kind = asked.state is RunState.WAITING, asked.kind
        self._tables.change(
            run, state=int(asked.state), waits=int(WAITS_OF[kind.run_kind]) if waits else None,
            due_at=asked.due_at if waits else None, trial_start=run.attempt + 1, asked=kind.parent_attempt,
            output=asked.output, error=asked.error, finished_at=None if waits else now,
            started_at=min(asked.began or now, now) if run.attempt else None,
            ended_by=None if waits else int(EndedBy.OUTCOME), deadline=kind.deadline if waits else None,
            deadline_by=kind.deadline_by if waits else None, expires_at=asked.expires_at(now),
            schedule_timeout=asked.timeout, awaits=awaits,
        )  # fmt: skip

    # --- gates -----------------------------------------------------------------------------------------------------

    @property
    def gated(self) -> bool:
        """Whether anything is closed, anywhere."""
        return any(gate.what == GateKind.CLOSED for gate in self._tables.gates.values())

    def close(self, now: int, run_id: bytes, which: int, attempt: int, error: str) -> bool:
        """What is below a run is closed; whether there is anything."""
        run, gates = self._tables.runs.get(run_id), self._tables.gates
        if run is None or not self._tables.has_children(run):
            return False
        before = gates.get(run_id)
        if before is not None and before.what != GateKind.CLOSED:
            return False
        since = None if before is None else _since(before)
        gates[run_id] = Gate(run_id, run.root_id, int(GateKind.CLOSED), which, attempt, error, now, since)
        return True

    def cut(self, now: int, run: Run) -> None:
        """A run is about to be asked for again. Below something closed it ends first, as by a sweep. And what is below
        it, which is closed by nothing above it then, is closed by a gate of its own."""
        self.end_closed(now, [] if run.is_over else [run])
        gate = self._tables.gates.get(run.parent_id or b"") if run.is_over else None
        covered = run.on_parent_end != OnParentEnd.CONTINUE and gate is not None and _covers(gate, run, lives=False)
        if gate is not None and covered and self.close(now, run.id, ALL, run.attempt, gate.error):
            self.has_closed = True

    def closed(self, run: Run) -> str | None:
        """Whether a run is below something that is closed, and what is said of it then."""
        gate = self.gate_above(run)
        return None if gate is None else gate.error

    def gate_above(self, run: Run) -> Gate | None:
        """What a run is closed by. One that has ended before: what would end it, if it were replayed now."""
        tables, itself = self._tables, run
        while run.parent_id is not None and run.on_parent_end != OnParentEnd.CONTINUE:
            gate = tables.gates.get(run.parent_id)
            if gate is not None and _covers(gate, run, lives=run is itself):
                return gate
            above = tables.runs.get(run.parent_id)
            if above is None:
                return None
            run = above
        return None

    def end_closed(self, now: int, runs: Iterable[Run]) -> dict[bytes, str]:
        """Those of these unfinished runs that are below something closed end; which, and with what error.

        Their parents are closed as well, or have ended: nobody but those who watch, and those who hold them, is told.
        """
        errors = {run.id: error for run in runs if (error := self.closed(run)) is not None}
        ended = [self._tables.runs[run_id] for run_id in errors]
        for run, error in zip(ended, errors.values(), strict=True):
            held = run.state == RunState.RUNNING
            self._tables.change(
                run, state=int(RunState.CANCELLED), output=None, error=error, ended_by=int(EndedBy.ANCESTOR),
                finished_at=now, expires_at=None, waits=None, due_at=None,
            )  # fmt: skip
            self._waits_no_more(run)
            self.budgets.even_out(run)
            self._tell(0, run, parent=False)
            if held:
                self.tell_holder(run)
        self._count(now, ended)
        return errors


def gate_of(tables: Tables, run: Run) -> Gate | None:
    """The gate of its parent's by which a run that has not ended is closed."""
    gate = tables.gates.get(run.parent_id or b"")
    covered = gate is not None and run.on_parent_end != OnParentEnd.CONTINUE and _covers(gate, run, lives=True)
    return gate if covered and not run.is_over else None


def wakes(run: Run | None, weight: int) -> bool:
    """Whether an end (None: there is no such run any more) is enough by itself."""
    failed = run is None or run.state != RunState.COMPLETED
    return run is None or weight == Awaited.WAKES or (weight == Awaited.ONE_OF_UNLESS_FAILED and failed)


def _covers(gate: Gate, child: Run, *, lives: bool) -> bool:
    """Whether a gate of its parent's covers a child. If that completed: of the children that end with it, and of those
    that it never asked for again, only what lived then, or `lives`; and what was ended by the gate, as it was made, or
    by one in whose place it is, since below that not all was swept."""
    if gate.what != GateKind.CLOSED:
        return False
    if gate.which == ALL:
        return child.asked <= gate.attempt
    ended_at = None if lives else child.finished_at
    if ended_at is not None and child.ended_by == EndedBy.ANCESTOR and ended_at >= _since(gate):
        return True
    if child.on_parent_end == OnParentEnd.SHARED or (ended_at is not None and ended_at <= gate.made_at):
        return False
    return child.asked < gate.attempt or (child.asked == gate.attempt and child.on_parent_end == OnParentEnd.CANCEL)


def _since(gate: Gate) -> int:
    return gate.made_at if gate.since is None else gate.since


def _deaths(run: Run, queueing: Queueing) -> int:
    if queueing.cause is Cause.LEASE_LOST:
        return run.deaths + queueing.charge
    return run.deaths if queueing.cause is Cause.HAND_BACK and not queueing.busy else 0
