"""Children that no worker executes: born as they are known to be, or done again in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.matching import numbered_mark
from fanwood.model.states import WAITS_OF, EndedBy, RunState
from fanwood.store.memory.tables import Run, Tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.commands import Record
    from fanwood.store.memory.leaving import Leaving
    from fanwood.store.memory.sharing import Sharing


def record(tables: Tables, leaving: Leaving, sharing: Sharing, now: int, records: Iterable[Record]) -> None:
    """Those of parents that are not fenced."""
    for asked in records:
        if asked.share is not None:
            sharing.link(now, asked, lambda asked=asked: _born(asked, now, None))
            continue
        there = tables.runs.get(asked.id)
        awaits = None if asked.awaits is None else numbered_mark(asked.awaits, tables.next_number())
        if not asked.again:
            tables.add(_born(asked, now, awaits))
        elif there is not None and (there.state == RunState.WAITING or _tries_anew(tables, there)):
            leaving.record(now, there, asked, awaits)


def _tries_anew(tables: Tables, there: Run) -> bool:
    """Whether it was asked for by an earlier trial of its parent's."""
    parent = tables.runs.get(there.parent_id or b"")
    return parent is not None and there.asked < parent.trial_start


def _born(asked: Record, now: int, awaits: bytes | None) -> Run:
    kind, waits = asked.kind, asked.state is RunState.WAITING
    began = min(asked.began or now, now)
    return Run(
        id=asked.id,
        parent_id=kind.parent_id,
        root_id=kind.root_id or asked.id,
        depth=kind.depth,
        kind=int(kind.run_kind),
        task=kind.task,
        identity=asked.identity,
        child_index=asked.index,
        child_key=asked.child_key,
        input_digest=asked.input_digest,
        input=asked.input,
        metadata=kind.metadata,
        priority=kind.priority,
        on_parent_end=int(kind.on_parent_end),
        state=int(asked.state),
        waits=int(WAITS_OF[kind.run_kind]) if waits else None,
        due_at=asked.due_at if waits else None,
        attempt=asked.attempt,
        trial_start=0,
        retry_count=0,
        deaths=0,
        asked=kind.parent_attempt,
        worker_id=None,
        deadline=kind.deadline if waits else None,
        deadline_by=kind.deadline_by if waits else None,
        schedule_timeout=asked.timeout,
        expires_at=asked.expires_at(now),
        created_at=began,
        started_at=began if asked.attempt else None,
        finished_at=None if waits else now,
        busy=0,
        ended_by=None if waits else int(EndedBy.OUTCOME),
        output=asked.output,
        error=asked.error,
        limit_at=None,
        awaits=awaits,
        life=asked.life,
    )
