"""Children that no worker executes, as they are born. (Steps of one attempt come by hundreds, and go together.)"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from fanwood.model.states import RunKind, RunState
from fanwood.store.sqlite.leaving import encoded, record_row
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fanwood.model.commands import Record, SpawnKind

_SQL = load("sqlite/spawning.sql")
_ALIKE = "%s%s%010d%02d%020d%010d%010d%s%s%s"
"""A row of `insert_steps`: id, identity, index, state, since when, how long key (and one more; 0: none) and input are;
those two, and the output or the error."""
_ALIKE_FROM = 8  # steps, for which their own statement pays


def insert_records(
    execute: Callable[[str, dict[str, Any]], object], now: int, records: Sequence[Record], number: Callable[[], int]
) -> None:
    """Insert them. `number`: of a wait for events, its place among all that has come of those."""
    if len(records) == 1 and _likeness(records[0]):
        _insert_step(execute, now, records[0])
        return
    rest: list[Record] = []
    for likeness, group in groupby(records, _likeness):
        alike = list(group)
        if likeness and len(alike) >= _ALIKE_FROM:
            _insert_steps(execute, now, alike)
        else:
            rest += alike
    if rest:
        rows = encoded([record_row(record, number) for record in rest])
        execute(_SQL["insert_records"], {"rows": rows, "now": now})


def _likeness(record: Record) -> int:
    """Equal for steps that `insert_steps` may insert together; 0: it may not."""
    if record.kind.run_kind is not RunKind.RECORDED or record.life is not None or record.kind.metadata is not None:
        return 0
    whole = record.output is not None if record.state is RunState.COMPLETED else record.error is not None
    return id(record.kind) if whole else 0


def _insert_step(execute: Callable[[str, dict[str, Any]], object], now: int, step: Record) -> None:
    about = _common(step.kind)
    about["id"], about["identity"], about["index"], about["key"] = step.id, step.identity, step.index, step.child_key
    about["input"], about["state"], about["output"], about["error"] = step.input, step.state, step.output, step.error
    about["began"], about["now"] = now if step.began is None else min(step.began, now), now
    execute(_SQL["insert_step"], about)


def _common(kind: SpawnKind) -> dict[str, Any]:
    return {
        "parent_id": kind.parent_id, "root_id": kind.root_id, "depth": kind.depth, "kind": kind.run_kind,
        "task": kind.task, "priority": kind.priority, "on_parent_end": kind.on_parent_end, "asked": kind.parent_attempt,
    }  # fmt: skip


def _insert_steps(execute: Callable[[str, dict[str, Any]], object], now: int, steps: list[Record]) -> None:
    rows = [
        _ALIKE % (
            step.id.hex(), step.identity.hex(), step.index, step.state, now if step.began is None else step.began,
            0 if step.child_key is None else 1 + len(step.child_key), len(step.input), step.child_key or "", step.input,
            step.output if step.state is RunState.COMPLETED else step.error,
        )
        for step in steps
    ]  # fmt: skip
    execute(_SQL["insert_steps"], {**_common(steps[0].kind), "rows": encoded(rows), "now": now})
