"""From rows, as any backend gives them, to records; and from what callers ask to a statement's bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.errors import RunNotFoundError
from fanwood.model.records import RunRecord, TaskCount, TreeRun
from fanwood.model.states import RunKind, RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.commands import TaskInfo

_ID_HEX_DIGITS = 32
_STATE, _KIND = 9, 21  # columns of a run's row


def record(row: Iterable[Any]) -> RunRecord:
    """A row of `get_run` or of a listing."""
    values = list(row)
    values[_STATE] = RunState(values[_STATE])
    values[_KIND] = RunKind(values[_KIND])
    return RunRecord(*values)


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


def id_range(prefix: str) -> dict[str, bytes]:
    """The ids that begin with `prefix`, as the bindings of `runs_from`.

    Raises:
        RunNotFoundError: no id begins so.
    """
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > _ID_HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise RunNotFoundError(f"{prefix!r} is not a run id, nor the beginning of one")
    low, high = digits.ljust(_ID_HEX_DIGITS, "0"), digits.ljust(_ID_HEX_DIGITS, "f")
    return {"low": bytes.fromhex(low), "high": bytes.fromhex(high)}


def the_one(rows: list[Any], prefix: str, url: str) -> bytes:
    """The id that `runs_from` found.

    Raises:
        RunNotFoundError: it found none, or more than one.
    """
    if len(rows) == 1:
        return rows[0][0]
    what = "more than one run's id begins" if rows else "no run's id begins"
    raise RunNotFoundError(f"In {url} {what} with {prefix!r}")


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
    }
