"""How a member of a group came out: one type for each way, for pattern matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar

from fanwood.clock import moment
from fanwood.errors import TaskRunCancelled, TaskRunError, TaskRunPoisoned, TaskRunTimedOut
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.sdk.declaring.outcomes import error_of, typed_output

if TYPE_CHECKING:
    from datetime import datetime

    from fanwood.errors import FailedTaskRunExceptionGroup
    from fanwood.model.commands import Ended
    from fanwood.model.records import RunRecord
    from fanwood.sdk.children.planned import Planned

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """What there is to say of a run, however it came out. Times are None for what has not begun, or never was."""

    run_id: str
    task_name: str
    attempt: int
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Completed(_Member, Generic[T]):
    """It has an output."""

    value: T

    def result(self) -> T:
        """The output."""
        return self.value


@dataclass(frozen=True, slots=True)
class _Missing(_Member):
    error: TaskRunError | FailedTaskRunExceptionGroup

    def result(self) -> NoReturn:
        """Raises the error.

        Raises:
            TaskRunError: why there is no output.
        """
        raise self.error


@dataclass(frozen=True, slots=True)
class Failed(_Missing):
    """Its code raised."""


@dataclass(frozen=True, slots=True)
class Cancelled(_Missing):
    """It was cancelled: it lost, as its group had decided, or somebody wanted it."""


@dataclass(frozen=True, slots=True)
class TimedOut(_Missing):
    """It did not end in its time, or its group's."""


@dataclass(frozen=True, slots=True)
class Poisoned(_Missing):
    """Its workers died."""


Outcome: TypeAlias = Completed[T] | Failed | Cancelled | TimedOut | Poisoned
"""How a member of a group came out."""


def outcome_of(run: Planned, ended: Ended, record: RunRecord | None) -> Outcome[Any]:
    """How it came out; `record` has the times."""
    about: dict[str, Any] = {
        "run_id": id_text(run.id),
        "task_name": run.spec.name,
        "attempt": record.attempt if record is not None else 0,
        "created_at": _time(record and record.created_at),
        "started_at": _time(record and record.started_at),
        "finished_at": _time(record and record.finished_at),
    }
    if ended.state is RunState.COMPLETED:
        return Completed(value=typed_output(ended.output, run.spec.output, run.spec.name), **about)
    error = error_of(ended, run.id, run.spec.name)
    for kind, made in ((TaskRunCancelled, Cancelled), (TaskRunTimedOut, TimedOut), (TaskRunPoisoned, Poisoned)):
        if isinstance(error, kind):
            return made(error=error, **about)
    return Failed(error=error, **about)


def _time(when: int | None) -> datetime | None:
    return None if when is None else moment(when)
