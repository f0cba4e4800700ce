"""What always holds, and what holds once everything has ended; whatever went wrong on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.commands import SUSPECT_DEATHS
from fanwood.model.invariants import History, lateness, of_a_row
from fanwood.model.states import FIRST_WAIT, TERMINAL, EndedBy, GateKind, OnParentEnd, RunKind, RunState, Waits
from fanwood.store.failures import decode_failure
from fanwood.store.memory import claiming, reading
from fanwood.store.memory.auditing import audited
from fanwood.store.turns import FEW as TURNS
from tests.simulation.beside import Beside
from tests.simulation.forked import Forked
from tests.simulation.plans import fails, retries
from tests.simulation.ranks import Ranks

if TYPE_CHECKING:
    from fanwood.model.commands import ClaimRequest
    from fanwood.store.memory.tables import Run, Tables
    from tests.simulation.plans import Maker, Plan

FEW = 100
"""Of a longer queue it is not said who is the oldest."""
MARKS = 1000
"""Microseconds by which a store may be ahead: each of its transactions has another time."""
_AT_ONCE = (EndedBy.CALL, EndedBy.PATCH, EndedBy.HEDGE)
"""By whom what waits for a time ends before it is due."""
_FROZEN = ("input", "output", "error")
"""Of a run that has ended nothing of this changes (nor what `History` looks at), unless it is replayed."""


LATE, PUNCTUAL = 5_000_000, 30_000_000
"""Microseconds by which timers may be late, once nothing has gone wrong for so long."""
EXPECTED = {
    "ValueError", "TaskRunError", "TaskRunCancelled", "TaskRunTimedOut", "TaskRunPoisoned", "StoreBusyError",
    "StoreFullError", "StoreValueError", "PayloadError", "FailedTaskRunExceptionGroup", "BudgetExceeded",
}  # fmt: skip
"""What a task of a program may fail with. (Of a file: what it asks for at once, as a cancel, it is told at once.)"""


class Watch:
    """Looks at each change of a run as it is made, and again when the transaction is over; `wrong` is told what must
    not be."""

    def __init__(
        self,
        tables: Tables,
        now: Callable[[], int],
        wrong: Callable[[str], None],
        seen: Callable[[Run, RunState | None], None],
    ) -> None:
        self.history = History(dense=True)
        self.deleted: set[bytes] = set()
        self.punctual_from: int | None = None  # from when on nothing may be late ...
        self.late = LATE  # ... by more than this
        self._now = now
        self._tables = tables
        self._wrong = wrong
        self._seen = seen
        self._changed: dict[bytes, None] = {}
        self._touched: dict[bytes, int] = {}  # when each run was changed last
        self._gated: dict[bytes, bytes] = {}
        self.paused: set[bytes] = set()  # the calls have returned
        self._replayed: dict[bytes, int] = {}  # when runs that had ended were queued again ...
        self.revivals: Counter[bytes] = Counter()  # ... and how often
        self.replays: set[bytes] = set()  # of these somebody has asked for it ...
        self.retried: set[bytes] = set()  # ... and of what failed of these
        self._beside, self._forked = Beside(tables), Forked(tables, self._replayed)
        self._ranks = Ranks(tables, self._replayed)
        self._change, self._add, self._remove = tables.change, tables.add, tables.remove
        tables.change, tables.add, tables.remove = self.change, self.add, self.remove

    def add(self, run: Run) -> None:
        """A run is born."""
        if run.id in self._tables.runs:
            self._wrong(f"{short(run)} is born a second time")
        if run.parent_id is not None and not _is_born_shared(self._tables, run):
            parent = self._tables.runs.get(run.parent_id)
            if parent is None or not parent.is_at(RunState.RUNNING, run.asked):
                self._wrong(f"{short(run)} is born below an attempt that is over")
        self._add(run)
        self._seen(run, None)
        self._forked.born(run)
        self._tell(self._beside.born(run))
        self._saw(run)
        if run.state == RunState.RUNNING:
            self._is_held(run)

    def change(self, run: Run, **values: Any) -> None:
        """A run's columns change."""
        before = (
            RunState(run.state),
            run.attempt,
            None if run.waits == Waits.CHILDREN else run.due_at,  # whose limit it is, and who mostly goes on before
            run.expires_at,
            {name: getattr(run, name) for name in _FROZEN},
        )
        asked = run.asked
        self._change(run, **values)
        state, attempt, due_at, expires_at, frozen = before
        again = run.kind >= FIRST_WAIT and run.asked > asked and state in TERMINAL
        patched = values.get("ended_by") == EndedBy.PATCH
        if again:
            self._was_recorded(run)
        if run.state != state or again or patched:
            self._seen(run, state)
            if state.is_terminal:
                self._replayed[run.id] = self._now()
                self.revivals[run.id] += 1
                self._may_run_again(run, state)
            self._is_in_time(run, state, due_at, expires_at)
        elif state in TERMINAL and any(getattr(run, name) != value for name, value in frozen.items()):
            self._wrong(f"{short(run)} had ended, and was changed")
        self._saw(run)
        if run.state == RunState.RUNNING and run.attempt > attempt:
            self._is_held(run)

    def remove(self, run: Run) -> None:
        """A run is deleted."""
        self._remove(run)
        self._beside.gone(run)
        self._changed.pop(run.id, None)
        self.deleted.add(run.id)
        self._tell(self.history.gone(run.id))

    def claimed(self, claim: ClaimRequest, ids: list[bytes]) -> None:
        """These were taken: priorities are honoured, but for the fair share; and that is the oldest's."""
        tables = self._tables
        tasks = msgspec.json.decode(claim.tasks)
        taken = [tables.runs[id_] for id_ in ids]
        first = [place for task in tasks for place in tables.order("queue", task).first(1)]
        judged = taken + [tables.runs[place[3]] for place in first]
        if not taken or tables.gates or claim.programs or any(run.deaths >= SUSPECT_DEATHS for run in judged):
            return  # (who is executed alone is another matter)
        best = min(first, default=None)
        depth = 4 if claim.turns is None else 1  # roots have their turns: of them only the priority tells
        worse = [run for run in taken if best and _place(run)[:depth] > best[:depth]]
        if len(worse) > claim.fair:
            self._wrong(f"{short(worse[-1])} is claimed before {min(first)[3].hex()[-6:]}")
        queued = [(task, *place) for task in tasks for place in tables.order("queue", task).first(FEW)]
        queued += [(run.task, *_place(run)) for run in taken]
        plain = all(
            id_ >= root and tables.runs[id_].deaths < SUSPECT_DEATHS for _, _, root, _, id_ in queued
        )  # (ids by clocks that agree, and nobody who is executed alone)
        if claim.fair and len(queued) < FEW and plain:
            heads: dict[tuple[str, int, bytes], tuple[int, bytes]] = {}  # what is least deep of each root, and oldest
            for task, priority, root, depth, id_ in queued:
                heads[task, priority, root] = min(heads.get((task, priority, root), (1 << 30, b"")), (-depth, id_))
            oldest = min(id_ for _, id_ in heads.values())
            if oldest not in {run.id for run in taken}:
                self._wrong(f"{oldest.hex()[-6:]} is the oldest, and is not claimed")
        if claim.turns is not None and len(queued) < FEW and plain:
            self._had_turns(claim, [(id_, priority, root) for _, priority, root, _, id_ in queued], set(ids))

    def _had_turns(self, claim: ClaimRequest, queued: list[tuple[bytes, int, bytes]], taken: set[bytes]) -> None:
        """Each of a few roots of the highest priority got something, or had nothing; if all have begun, as those that
        have not share a turn."""
        highest = min(priority for _, priority, _ in queued)
        roots = {root for _, priority, root in queued if priority == highest}
        served = {root for id_, priority, root in queued if priority == highest and id_ in taken}
        waiting = {root for id_, priority, root in queued if priority == highest and id_ not in taken}
        begun = all(self._tables.runs[root].state != RunState.QUEUED and root not in taken for root in roots)
        limit = min(claim.limit, claiming.FEWER) if self._tables.pauses else claim.limit
        if begun and len(roots) <= min(TURNS, limit - claim.fair) and waiting - served:
            self._wrong(f"{min(waiting - served).hex()[-6:]} had no turn")

    def settle(self, now: int) -> None:
        """A transaction is over: what was changed by it is sound, also beside what it belongs to, and so is all that
        lives where something is not closed any more."""
        tables = self._tables
        gated = {gate.run_id: gate.root_id for gate in tables.gates.values()} if tables.gates else {}
        for run_id, root_id in self._gated.items() if self._gated else ():
            if run_id not in gated:
                self._changed |= dict.fromkeys(tables.order("living", root_id))
        self._gated = gated
        changed, self._changed = self._changed, {}
        self._tell(self._beside.settled(changed, {*gated.values()}))
        self._tell(self._forked.settled())
        self._tell(self._ranks.settled(changed))
        if changed:
            for id_ in changed:
                if id_ in tables.runs:
                    self._tell(of_a_row(audited(tables, tables.runs[id_])))
                if id_ in tables.awaited:
                    self._is_awaited(id_)
        if self.punctual_from is not None and now > self.punctual_from:
            for name in ("due", "expiring"):
                for _, id_ in tables.order(name).first(1):
                    if now > self._touched.get(id_, 0) + self.late:  # (it may be asked for when its time is over)
                        self._tell(lateness(audited(tables, tables.runs[id_]), now, self.late))

    def _is_awaited(self, id_: bytes) -> None:
        """By somebody who is suspended: then it has not ended, else he would have been told."""
        run, waiters = self._tables.runs.get(id_), self._tables.awaited[id_]
        for waiter in waiters:
            if run is None or run.is_over or self._tables.runs[waiter].state != RunState.WAITING:
                self._wrong(f"{id_.hex()[-6:]} is over, and {waiter.hex()[-6:]} is suspended for it")

    def revived_since(self, run: Run, when: int) -> bool:
        """Whether a run that had ended was queued again, from then on."""
        return self._replayed.get(run.id, -1) >= when

    def paused_above(self, run: Run) -> bytes | None:
        """The run above this one (or itself) whose pause has begun, as far as somebody was told so."""
        return next((id_ for id_ in self._way(run) if id_ in self.paused), None) if self.paused else None

    def closed_above(self, run_id: bytes, closed: dict[bytes, int]) -> bytes | None:
        """The run above this one (or itself) that is among `closed` by a call, if this one ends with that, and nothing
        between was replayed since."""
        run, since = self._tables.runs.get(run_id), -1
        while run is not None:
            since = max(since, self._replayed.get(run.id, -1))
            if run.on_parent_end == OnParentEnd.SHARED:  # who lives on below what has completed may ask for it anew
                since = max(since, run.created_at)
            if closed.get(run.id, -1) > since:
                return run.id
            if run.parent_id is None or run.on_parent_end == OnParentEnd.CONTINUE:
                return None
            run = self._tables.runs.get(run.parent_id)
        return None

    def _saw(self, run: Run) -> None:
        self._changed[run.id] = None
        self._touched[run.id] = self._now()
        self._tell(self.history.saw(audited(self._tables, run)))

    def _tell(self, found: Iterable[str]) -> None:
        for said in found:
            self._wrong(said)

    def _may_run_again(self, run: Run, state: RunState) -> None:
        """What has completed does so if somebody asks for it, or wants what failed below it to run again."""
        if state is not RunState.COMPLETED or run.is_over or run.id in self.replays:
            return
        ways = {id_: {*self._way(each)} for id_, each in self._tables.runs.items()}
        failed = any(
            run.id in ways[id_] and (each.state != RunState.COMPLETED or id_ in self._replayed)
            for id_, each in self._tables.runs.items()
            if id_ != run.id
        )
        if not failed or ways[run.id].isdisjoint(self.retried):
            self._wrong(f"{short(run)} had completed, and runs again, which nobody wanted")

    def _way(self, run: Run) -> Iterator[bytes]:
        """From a run up to its root."""
        above: Run | None = run
        while above is not None:
            yield above.id
            above = self._tables.runs.get(above.parent_id or b"")

    def _is_held(self, run: Run) -> None:
        worker = self._tables.workers.get(run.worker_id or 0)
        if worker is None or worker.lease is None:
            self._wrong(f"{short(run)} is RUNNING under worker {run.worker_id}, which holds no lease")
        if above := self.paused_above(run):
            self._wrong(f"{short(run)} is claimed, and {above.hex()[-6:]} is paused")

    def _was_recorded(self, run: Run) -> None:
        """Its parent does it again, in an attempt that counts."""
        parent = self._tables.runs.get(run.parent_id or b"")
        if parent is None or not parent.is_at(RunState.RUNNING, run.asked):
            self._wrong(f"{short(run)} is recorded again by an attempt that is over")

    def _is_in_time(self, run: Run, state: RunState, due_at: int | None, expires_at: int | None) -> None:
        """No timer is early, by the store's clock."""
        now = self._now()
        goes_on = run.state in (RunState.QUEUED, RunState.COMPLETED) and run.ended_by not in _AT_ONCE
        if state is RunState.WAITING and goes_on and due_at is not None and now < due_at:
            self._wrong(f"{short(run)} goes on {due_at - now} us too early")
        shared = self._tables.runs.get((run.awaits or b"")[:16]) if run.kind == RunKind.SHARE else None
        if shared is not None and shared.ended_by == EndedBy.EXPIRY:
            return  # what it is a link to was failed so
        if run.ended_by == EndedBy.EXPIRY and (expires_at is None or now < expires_at):
            self._wrong(f"{short(run)} was to be failed at {expires_at}, and is at {now}")


def _is_born_shared(tables: Tables, run: Run) -> bool:
    """Whoever asks for what is shared, it is the root's; which may have completed by then."""
    root = tables.runs.get(run.parent_id or b"")
    fallen = root is None or root.state in (RunState.FAILED, RunState.CANCELLED)
    return run.on_parent_end == OnParentEnd.SHARED and not fallen


def _place(run: Run) -> tuple[int, bytes, int, bytes]:
    return -run.priority, run.root_id, -run.depth, run.id


def short(run: Run) -> str:
    """A run as stories name it."""
    return f"{run.task} {run.id.hex()[-6:]}"


# --- at any time -----------------------------------------------------------------------------------------------------


def moved_on(tables: Tables, now: int) -> Iterator[str]:
    """Every unfinished run has something that will move it: the queue, a worker, or a time. What has not is told."""
    for run in tables.runs.values():
        match run.state:
            case RunState.RUNNING if run.worker_id not in tables.workers:
                yield f"{short(run)} is RUNNING under nobody"
            case RunState.WAITING if run.waits is None or (run.waits == Waits.TIME and run.due_at is None):
                yield f"{short(run)} is WAITING for nothing"
            case RunState.QUEUED if (-run.priority, run.root_id, -run.depth, run.id) not in tables.order(
                "queue", run.task
            ):
                yield f"{short(run)} is QUEUED, and not in the queue"
            case _ if run.finished_at is not None and run.finished_at > now + MARKS:
                yield f"{short(run)} ended in the future"
            case _:
                pass


# --- in the end ------------------------------------------------------------------------------------------------------


def at_the_end(tables: Tables, history: History, maker: Maker) -> Iterator[str]:
    """When all has ended and nothing is under way, nothing is left over. What is, is told."""
    for run in (run for run in tables.runs.values() if not run.is_over):
        yield f"{short(run)} is {RunState(run.state).name}: attempt {run.attempt}, worker {run.worker_id}"
    for gate in tables.gates.values():
        if gate.what == GateKind.CLOSED:
            yield f"what is below {gate.run_id.hex()[-6:]} is still closed, though all has ended"
    if tables.moved:
        yield f"{len(tables.moved)} tree(s) have not been told of deadlines that moved"
    for run_id in tables.watchers:
        if run_id in tables.runs and tables.runs[run_id].is_over:
            yield f"somebody still watches {run_id.hex()[-6:]}, which has ended"
    yield from _left_beside(tables)
    for run in tables.runs.values():
        if (run.output is not None) != (run.state == RunState.COMPLETED):
            yield f"{short(run)} is {RunState(run.state).name}, with output {run.output!r}"
        if run.kind >= FIRST_WAIT:
            continue
        given = plan_of(tables, run)
        plan = maker.plans.get(given["n"], {})
        if not maker.knows(given):
            yield f"{short(run)} has the input {run.input}, which nobody sent"
        elif run.output is not None and msgspec.json.decode(run.output) != maker.answer(plan):
            yield f"{short(run)} has the output {run.output}, and not {maker.answer(plan)}"
        if run.state in (RunState.FAILED, RunState.CANCELLED):
            yield from _explained(run, plan)
    yield from _counted(tables, history)


def _left_beside(tables: Tables) -> Iterator[str]:
    """Rows of other tables, that are about what lives, or is under way."""
    beside: dict[str, Iterable[bytes]] = {
        "is suspended": tables.suspended, "is awaited": tables.awaited,
        "helps": tables.hedges, "is shared": tables.open,
        "is resumed": (pause.run_id for pause in tables.pauses.values() if pause.resumed_at is not None),
        "is given a priority": (urgent.run_id for urgent in tables.urgent.values() if urgent.place is not None),
    }  # fmt: skip
    for what, ids in beside.items():
        for id_ in ids:
            yield f"{id_.hex()[-6:]} {what}, as it is written, and all has ended"


def plan_of(tables: Tables, run: Run) -> Plan:
    """What a run was given to do."""
    if run.kind != RunKind.STEP:
        return msgspec.json.decode(run.input)
    return msgspec.json.decode(run.input)["input"]["parts"][run.child_key]


def _explained(run: Run, plan: Plan) -> Iterator[str]:
    """It failed of something that may be; of its own will only if it must."""
    failure = decode_failure(run.error)
    wilful = failure.message == f"{plan['n']} fails"
    wilful = wilful and not any(fails(step) > retries(plan) for step in plan["steps"])
    if not run.error or wilful or (failure.kind == "failed" and failure.type not in EXPECTED):
        yield f"{short(run)} is {RunState(run.state).name}: {failure.type} {failure.message} {failure.traceback}"


def _counted(tables: Tables, history: History) -> Iterator[str]:
    """Children are where they are looked for, each once; and none is missing."""
    for parent in history.spawned:
        counted = reading.child_counts(tables, parent) if parent else []
        there = sum(each.count for each in counted) if parent else len(tables.order("roots"))
        yield from history.balance(parent, there)
    for run in tables.runs.values():
        if run.parent_id is not None:
            if run.parent_id not in tables.runs:
                yield f"{short(run)} has no parent"
            if run.id not in tables.order("children", run.parent_id):
                yield f"{short(run)} is not among its parent's children"
