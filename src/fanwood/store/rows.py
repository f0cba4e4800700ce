"""From rows, as any backend gives them, to records; and from what callers ask to a statement's bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.forks import Kept
from fanwood.model.lives import since_of
from fanwood.model.records import (
    Above,
    AttemptRecord,
    Audited,
    Few,
    Known,
    Recorded,
    RunRecord,
    TaskCount,
    TreeRun,
    Walk,
)
from fanwood.model.states import FIRST_TERMINAL, FIRST_WAIT, RunKind, RunState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.commands import TaskInfo
    from fanwood.store.store import Place

_STATE, _KIND, _EXPIRES = 9, 21, 25  # columns of a run's row
_AUDITED, _FLAGS, _ABOVE = 8, 31, 36  # ... of an audit's: the state; what is true of it; its parent
_KINDS: dict[int, RunKind] = {int(kind): kind for kind in RunKind}


def record(row: Iterable[Any]) -> RunRecord:
    """A row of `get_run` or of a listing."""
    values = list(row)
    values[_STATE] = RunState(values[_STATE])
    values[_KIND] = _KINDS.get(values[_KIND], RunKind.TASK)  # a newer program may know others
    if values[_KIND] < FIRST_WAIT:
        values[_EXPIRES] = None
    return RunRecord(*values)


def tally(rows: Iterable[Any]) -> dict[RunState, int]:
    """How many runs are in each state; those in one that there is not are among others (`RunState`)."""
    found: dict[RunState, int] = {}
    for number, count in rows:
        state = RunState(number)
        found[state] = found.get(state, 0) + count
    return found


def attempts(rows: Iterable[Any]) -> list[AttemptRecord]:
    """Rows of `attempts`."""
    return [AttemptRecord(number, id_, name, RunState(state), *rest) for number, id_, name, state, *rest in rows]


def recorded(rows: Iterable[Any]) -> list[Recorded]:
    """Rows of `recorded`."""
    return [Recorded(identity or b"", id_, RunState(state), *rest) for identity, id_, state, *rest in rows]


def recorded_few(rows: Sequence[Any], limit: int) -> Few:
    """Rows of `recorded_few` of one run, of which one more than `limit` were asked for: what is no part is left out."""
    if len(rows) > limit or any(row[-1] is not None and not row[-1] for row in rows):
        return None
    return recorded(row[:-1] for row in rows if row[-1] is not None)


def recalled(rows: Iterable[Any]) -> list[Known]:
    """Rows of `recalled`."""
    return [
        Known(identity, id_, RunState(state), asked, digest, bool(short) and state >= FIRST_TERMINAL, output, error)
        for identity, id_, state, asked, digest, short, output, error in rows
    ]


def audited(rows: Iterable[Any], walk: Walk) -> list[Audited]:
    """Rows of `audit`, in the order of the walk."""
    found: list[Audited] = []
    for row in rows:
        values: list[Any] = list(row)
        values[_AUDITED] = RunState(values[_AUDITED])
        values[_FLAGS:_ABOVE] = map(bool, values[_FLAGS:_ABOVE])
        state, attempt, root, depth, deadline, life = values[_ABOVE:]
        above = None if state is None else Above(RunState(state), attempt, root, depth, deadline, since_of(life))
        values[_ABOVE:] = [above]
        found.append(Audited(*values))
    return sorted(found, key=lambda one: place_of(one, walk))


def place_of(row: Audited, walk: Walk) -> Place:
    """Where an audit has come to with this."""
    if walk is Walk.ROOTS:
        return row.created_at, b"", b"", row.id
    return 0, row.root_id, row.parent_id or b"", row.id


def kept(rows: Iterable[Any]) -> list[Kept]:
    """Rows of `kept`."""
    return [
        Kept(identity, id_, RunKind(kind), RunState(state), asked, digest, key, bool(told), output, input_, life)
        for identity, id_, kind, state, asked, digest, key, told, output, input_, life in rows
    ]


def audit_bindings(walk: Walk, after: Place, limit: int) -> dict[str, Any]:
    """Those of `audit`."""
    at, root, parent, id_ = after
    return {"walk": int(walk), "at": at, "root": root, "parent": parent, "after": id_, "limit": limit}


def counts(rows: Iterable[Any]) -> list[TaskCount]:
    """Rows of `child_counts` or `tree_counts`."""
    return [
        TaskCount(task, RunState(state), count, first, last or None, *took)
        for task, state, count, first, last, *took in rows
    ]


def slowest(rows: Iterable[Any]) -> list[TreeRun]:
    """Rows of `tree_slowest`."""
    return [TreeRun(id_, name, input_, took, None) for id_, name, input_, took in rows]


def failures(rows: Iterable[Any]) -> list[TreeRun]:
    """Rows of `tree_failures`."""
    return [TreeRun(id_, name, input_, None, error) for id_, name, input_, error in rows]


def task_bindings(task: TaskInfo) -> dict[str, Any]:
    """Those of `publish_task`, but for the time."""
    return {
        "name": task.name,
        "kind": task.kind,
        "description": task.description,
        "priority": task.priority,
        "schedule_timeout": task.schedule_timeout,
        "metadata": task.metadata,
        "schema": task.schema,
        "version": task.version,
    }
