"""A run starts over: it goes on with another input, and without what it had asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.commands import FEW_CHILDREN, FIRST_CHUNK
from fanwood.model.lives import next_life
from fanwood.model.states import EndedBy, RunState
from fanwood.store.failures import ancestor_ended, life_said
from fanwood.store.memory.leaving import ALL
from fanwood.store.memory.tables import Line

if TYPE_CHECKING:
    from fanwood.model.commands import Outcome
    from fanwood.store.memory.leaving import Leaving
    from fanwood.store.memory.tables import Run, Tables


def renew(tables: Tables, leaving: Leaving, now: int, outcome: Outcome) -> bool:
    """Its attempt was just handed back: the next one is the first of a new life. Whether something is closed now."""
    run = tables.runs[outcome.run_id]
    life = next_life(run.life, run.attempt, now)
    tables.change(
        run, input=outcome.output or "null", retry_count=0, trial_start=life.since, error=None, life=life.text,
        limit_at=None,
    )  # fmt: skip
    tables.suspended.pop(run.id, None)
    lines = tables.logs.setdefault(run.id, {})
    seq = max((number for number in lines if number < FIRST_CHUNK), default=-1) + 1
    lines[seq] = Line(run.id, seq, run.attempt, now, "info", life_said(life.number))
    if have_ended(tables, run, leaves=True):
        return False
    return leaving.close(now, run.id, ALL, run.attempt, ancestor_ended(run.id, "started over"))


def have_ended(tables: Tables, run: Run, *, leaves: bool = False, or_failed: bool = False) -> bool:
    """Whether it has few children, and all of them have ended. `leaves`: and have had none themselves;
    `or_failed`: or have failed by their own code, which has closed what was below them, or was asked the same."""
    children = tables.order("children", run.id).first(FEW_CHILDREN + 1)
    if len(children) > FEW_CHILDREN:
        return False
    found = [tables.runs[id_] for id_ in children]
    return all(
        child.is_over and not (leaves and not (or_failed and _has_failed(child)) and tables.has_children(child))
        for child in found
    )


def _has_failed(run: Run) -> bool:
    return run.state == RunState.FAILED and run.ended_by == EndedBy.OUTCOME
