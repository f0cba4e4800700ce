"""Rows, and what they stand beside, as invariants judge them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fanwood.model.lives import since_of
from fanwood.model.records import Above, Audited, Walk
from fanwood.model.states import UNFINISHED, RunKind, RunState, Waits
from fanwood.store.rows import place_of

if TYPE_CHECKING:
    from fanwood.store.memory.tables import Run, Tables
    from fanwood.store.store import Place


def audited(tables: Tables, run: Run) -> Audited:
    """A run as it stands now."""
    above = None if run.parent_id is None else tables.runs.get(run.parent_id)
    return Audited(
        run.id, run.parent_id, run.root_id, run.depth, run.kind, run.task, run.identity, run.on_parent_end,
        RunState(run.state), run.waits, run.due_at, run.attempt, run.trial_start, run.retry_count, run.deaths,
        run.asked, run.worker_id, run.deadline, run.expires_at, run.created_at, run.started_at, run.finished_at,
        run.busy, run.ended_by, *_awaiting(tables, run), *_sharing(tables, run),
        *_wanting(run),
        run.output is not None, run.error is not None, run.worker_id in tables.workers,
        bool(tables.gates) and any(gate.root_id == run.root_id for gate in tables.gates.values()),
        _moved(tables, run) or _moved(tables, above),
        above
        and Above(
            RunState(above.state), above.attempt, above.root_id, above.depth, above.deadline, since_of(above.life)
        ),
    )  # fmt: skip


def _awaiting(tables: Tables, run: Run) -> tuple[int | None, int, int]:
    """Of one that is suspended: how many ends it misses, for how many that live, and how many that don't."""
    if run.waits != Waits.CHILDREN:
        return None, 0, 0
    entry = tables.suspended.get(run.id)
    awaited = [tables.runs.get(id_) for id_, waiters in tables.awaited.items() if run.id in waiters]
    living = sum(one is not None and not one.is_over for one in awaited)
    return None if entry is None else entry.missing, living, len(awaited) - living


def _sharing(tables: Tables, run: Run) -> tuple[int | None, int | None]:
    """Of a link: the state of what it shares, and how far that is; of what is shared, how far it is."""
    is_link = run.kind == RunKind.SHARE
    target = tables.runs.get((run.awaits or b"")[:16]) if is_link else None
    shared = tables.shared_of.get((run.awaits or b"")[:16] if is_link else run.id)
    return None if target is None else target.state, None if shared is None else shared.open


def _wanting(run: Run) -> tuple[bytes | None, str | None]:
    """Of what waits for an event or a message: its mark, and what it wants."""
    waits = run.state == RunState.WAITING and run.kind in (RunKind.EVENT, RunKind.MESSAGE)
    return (run.awaits, run.input) if waits else (None, None)


def _moved(tables: Tables, run: Run | None) -> bool:
    owner = None if run is None or run.deadline_by is None else tables.runs.get(run.deadline_by)
    return owner is not None and owner.limit_at is not None


def audit(tables: Tables, walk: Walk, after: Place, limit: int) -> list[Audited]:
    """See `Store.audit`. Every row is looked at: this is no index, but memories are small."""
    if walk is Walk.UNFINISHED:
        found = [run for state in UNFINISHED for run in islice(_in(tables, state), limit)]
        return sorted((audited(tables, run) for run in found), key=lambda row: place_of(row, walk))
    rows = [audited(tables, run) for run in tables.runs.values() if (run.parent_id is None) is (walk is Walk.ROOTS)]
    return sorted((row for row in rows if place_of(row, walk) > after), key=lambda row: place_of(row, walk))[:limit]


def _in(tables: Tables, state: RunState) -> list[Run]:
    return [run for run in tables.runs.values() if run.state == state]
