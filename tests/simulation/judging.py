"""What a store answers, against the rows before and after: fences, trials, leases, pauses; and a worker's slots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.model.commands import Batch, Committed
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.memory.tables import Tables
    from fanwood.worker.executor import Executor

REVIVED = (RunState.FAILED, RunState.CANCELLED)


class Before(NamedTuple):
    """What a commit is about, as it was before."""

    reported: list[tuple[int, int] | None]  # state and attempt of each run of which there is an outcome
    asked_for: dict[bytes, tuple[int, int]]  # state of a child that is asked for again, and by which attempt it was


def before(tables: Tables, batch: Batch) -> Before:
    """A batch is about to be committed."""
    runs = tables.runs
    reported = [runs.get(outcome.run_id) for outcome in batch.outcomes]
    asked_for = [runs[attach.id] for attach in batch.attaches if attach.id in runs]
    return Before(
        [None if run is None else (run.state, run.attempt) for run in reported],
        {run.id: (run.state, run.asked) for run in asked_for},
    )


def after(tables: Tables, was: Before, batch: Batch, done: Committed) -> Iterator[str]:
    """It was: what must not have been."""
    for number, outcome in enumerate(batch.outcomes):
        if number in done.fenced_outcomes:
            continue
        name = f"{outcome.run_id.hex()[-6:]}"
        run = tables.runs.get(outcome.run_id)
        if outcome.state is RunState.QUEUED and not outcome.retry:
            if was.reported[number] == (RunState.QUEUED, outcome.attempt):
                continue  # it was to be handed back, and has been
            if was.reported[number] == (RunState.WAITING, outcome.attempt):  # ... and was paused since
                if run is not None and run.is_at(RunState.QUEUED, outcome.attempt):
                    yield f"{name} was handed back by an attempt that was over, and is queued by that"
                continue
        if was.reported[number] != (RunState.RUNNING, outcome.attempt):
            yield f"an outcome of {name}, attempt {outcome.attempt}, counted; it was at {was.reported[number]}"
        if outcome.delay and run is not None and run.state in (RunState.QUEUED, RunState.RUNNING):
            yield f"{name} is to be tried again in {outcome.delay} us, and does not wait"
    for id_, (state, asked) in was.asked_for.items():
        run = tables.runs[id_]
        parent = tables.runs.get(run.parent_id or b"")
        if state in REVIVED and not run.is_over and parent is not None and asked >= parent.trial_start:
            yield f"{id_.hex()[-6:]} had ended, and is executed again in the same trial of its parent"


def of_slots(executor: Executor, attempts: list[Attempt]) -> Iterator[str]:
    """Slots in use = attempts executing. (No thread is about to give or to take one.)"""
    busy, holding = executor._slots.busy, sum(attempt.holding for attempt in attempts)
    if busy != holding:
        yield f"{busy} slots are in use, and {holding} attempts execute"
