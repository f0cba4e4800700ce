"""What always holds, and what holds once everything has ended; whatever went wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.states import TERMINAL, TRANSITIONS, GateKind, OnParentEnd, RunState
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from fanwood.store.memory.tables import Run, Tables

_MAY_FOLLOW = {(before, after) for (before, _), targets in TRANSITIONS.items() for after in targets}
MARKS = 1000
"""Microseconds by which a store may be ahead: each of its transactions has another time."""
_FROZEN = ("output", "error", "finished_at", "ended_by", "attempt", "busy")
"""Of a run that has ended nothing of this changes, unless it is replayed."""


EXPECTED = {
    "ValueError", "TaskRunError", "TaskRunCancelled", "TaskRunTimedOut", "TaskRunPoisoned", "StoreBusyError",
    "StoreFullError", "StoreValueError", "PayloadError",
}  # fmt: skip
"""What a task of a program may fail with. (Of a file: what it asks for at once, as a cancel, it is told at once.)"""


class Watch:
    """Looks at each change of a run as it is made; `wrong` is told what must not be."""

    def __init__(self, tables: Tables, wrong: Callable[[str], None], seen: Callable[[Run, RunState | None], None]):
        self._tables = tables
        self._wrong = wrong
        self._seen = seen
        self._identities: dict[tuple[bytes, bytes], bytes] = {}
        self._change, self._add = tables.change, tables.add
        tables.change = self.change
        tables.add = self.add

    def add(self, run: Run) -> None:
        """A run is born."""
        if run.id in self._tables.runs:
            self._wrong(f"{short(run)} is born a second time")
        if run.parent_id is not None:
            parent = self._tables.runs.get(run.parent_id)
            if parent is None or not parent.is_at(RunState.RUNNING, run.asked):
                self._wrong(f"{short(run)} is born below an attempt that is over")
            if run.identity is not None:
                other = self._identities.setdefault((run.parent_id, run.identity), run.id)
                if other != run.id:
                    self._wrong(f"{short(run)} is the same child as {other.hex()[-6:]}, of one parent")
        self._add(run)
        self._seen(run, None)
        if run.state == RunState.RUNNING:
            self._is_held(run)

    def change(self, run: Run, **values: Any) -> None:
        """A run's columns change."""
        before = (run.state, run.attempt, {name: getattr(run, name) for name in _FROZEN})
        self._change(run, **values)
        state, attempt, frozen = before
        if run.state != state:
            self._seen(run, RunState(state))
            if (RunState(state), RunState(run.state)) not in _MAY_FOLLOW:
                self._wrong(f"{short(run)} went from {RunState(state).name} to {RunState(run.state).name}")
            if state in TERMINAL and run.trial_start != attempt + 1:
                self._wrong(f"{short(run)} came back without a new trial")
        elif state in TERMINAL and any(getattr(run, name) != value for name, value in frozen.items()):
            self._wrong(f"{short(run)} had ended, and was changed")
        if run.attempt < attempt or (run.attempt > attempt and run.state != RunState.RUNNING):
            self._wrong(f"{short(run)} went from attempt {attempt} to {run.attempt}")
        if run.state == RunState.RUNNING and run.attempt > attempt:
            self._is_held(run)

    def _is_held(self, run: Run) -> None:
        worker = self._tables.workers.get(run.worker_id or 0)
        if worker is None or worker.lease is None:
            self._wrong(f"{short(run)} is RUNNING under worker {run.worker_id}, which holds no lease")


def short(run: Run) -> str:
    """A run as stories name it."""
    return f"{run.task} {run.id.hex()[-6:]}"


# --- at any time -----------------------------------------------------------------------------------------------------


def closed_above(tables: Tables, run_id: bytes, closed: dict[bytes, int]) -> bytes | None:
    """The run above this one (or itself) that is among `closed` by a call, if it ends with that."""
    run = tables.runs.get(run_id)
    while run is not None:
        if run.id in closed:
            return run.id
        if run.parent_id is None or run.on_parent_end == OnParentEnd.CONTINUE:
            return None
        run = tables.runs.get(run.parent_id)
    return None


def moved_on(tables: Tables, now: int) -> Iterator[str]:
    """Every unfinished run has something that will move it: the queue, a worker, or a time. What has not is told."""
    for run in tables.runs.values():
        match run.state:
            case RunState.RUNNING if run.worker_id not in tables.workers:
                yield f"{short(run)} is RUNNING under nobody"
            case RunState.WAITING if run.due_at is None or run.waits is None:
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


def unfinished(tables: Tables) -> list[Run]:
    """What has not ended."""
    return [run for run in tables.runs.values() if not run.is_over]


def at_the_end(tables: Tables) -> Iterator[str]:
    """When all has ended and nothing is under way, nothing is left over. What is, is told."""
    for run in unfinished(tables):
        yield f"{short(run)} is {RunState(run.state).name}: attempt {run.attempt}, worker {run.worker_id}"
    for gate in tables.gates.values():
        if gate.what == GateKind.CLOSED:
            yield f"what is below {gate.run_id.hex()[-6:]} is still closed, though all has ended"
    if tables.moved:
        yield f"{len(tables.moved)} tree(s) have not been told of deadlines that moved"
    for run_id in tables.watchers:
        if tables.runs[run_id].is_over:
            yield f"somebody still watches {run_id.hex()[-6:]}, which has ended"
    for run in tables.runs.values():
        if (run.output is not None) != (run.state == RunState.COMPLETED):
            yield f"{short(run)} is {RunState(run.state).name}, with output {run.output!r}"
        if run.output is not None:
            given, got = msgspec.json.decode(run.input), msgspec.json.decode(run.output)
            if got != {"n": given["n"], "text": given["text"]}:
                yield f"{short(run)} has the output {run.output}, which is another run's"
        if run.state in (RunState.FAILED, RunState.CANCELLED):
            yield from _explained(run)
    yield from _counted(tables)


def _explained(run: Run) -> Iterator[str]:
    failure = decode_failure(run.error)
    if not run.error or (failure.kind == "failed" and failure.type not in EXPECTED):
        yield f"{short(run)} is {RunState(run.state).name}: {failure.type} {failure.message} {failure.traceback}"


def _counted(tables: Tables) -> Iterator[str]:
    """Children are where they are looked for, each once."""
    for run in tables.runs.values():
        if run.parent_id is not None:
            if run.parent_id not in tables.runs:
                yield f"{short(run)} has no parent"
            if run.id not in tables.order("children", run.parent_id):
                yield f"{short(run)} is not among its parent's children"
