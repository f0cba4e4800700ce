"""Every exception that Fanwood raises, drawn as a tree.

    FanwoodError
    ├── DeclarationError             wrong in the program text, found when it is loaded
    │   ├── DuplicateTaskError         two tasks with one name
    │   ├── WorkflowDeclarationError   a cycle, an unknown parent, a double step
    │   └── SettingsError              an unknown or impossible setting
    ├── UsageError                   a call that can't be right where it stands
    │   ├── BlockingCallError          run() where aio_run() is needed
    │   ├── UnknownTaskError           no task of that name (did you mean ...)
    │   ├── NotInTaskError             needs a running task, and there is none
    │   ├── EngineClosedError          the Fanwood object was closed
    │   └── TooManyWaitingThreadsError sync parents fill all threads that may wait
    ├── PayloadError                 a value that can't travel
    │   ├── InputValidationError       does not fit the task's input; lists all problems
    │   ├── PayloadEncodingError       no JSON for it; says where in the value
    │   └── PayloadTooLargeError       over the limit
    ├── SpawnError                   a run that can't be spawned
    │   ├── ChildKeyConflictError      the key belongs to another task or input
    │   ├── IdempotencyConflictError   as that, for the idempotency key of a root
    │   ├── BudgetExceeded             it would use more than a budget, or a limit of the tree, allows
    │   └── AttemptFencedError         the attempt that asks is no longer the current one
    ├── RunNotFoundError             no run with that id
    ├── PromiseTokenError            no token of a promise of this store
    ├── PromiseSettledError          a promise has ended, and not as was asked now
    ├── EventConflictError           an event's id belongs to another one
    ├── RunEndedError                a message for a run that has ended
    ├── NonDeterminismError          a durable run's code asks for something else than it did
    ├── WaitTimeoutError             a wait's own timeout ran out (also a TimeoutError)
    ├── StoreError                   the database; names its path or URL (without password)
    │   ├── StoreForeignError          a database or file that isn't ours
    │   ├── StoreReadOnlyError         can't be written to
    │   ├── StoreSchemaError           of another schema version
    │   ├── StoreFullError             no space left; work goes on when there is
    │   ├── StoreBusyError             locked by somebody else for too long
    │   ├── StoreValueError            a value that the database can't hold
    │   └── StoreUnavailableError      can't be opened or reached
    └── TaskRunError                 a run that ended without a result
        ├── TaskRunCancelled           it was cancelled
        ├── TaskRunTimedOut            a limit ran out: says which, and whose (also a TimeoutError)
        └── TaskRunPoisoned            it was executing on too many workers that died

Two more are raised *by* tasks, to steer retries: `NonRetryableException` and `RetryAfterException`. And one is
raised *into* sync tasks: `RunInterrupted`, a `BaseException`, so that `except Exception` can't swallow it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fanwood.durations import Duration, parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal


def _again(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """A copy, without its class's own __init__, which may take something else than `args`."""
    return cls.__new__(cls, *args)


def _reduce(self: BaseException) -> tuple[Any, ...]:
    """For pickle and copy: exceptions go through process pools."""
    return _again, (type(self), self.args), self.__dict__


class FanwoodError(Exception):
    """Base of everything that Fanwood raises on purpose."""

    __reduce__ = _reduce


# --- in the program text -------------------------------------------------------------------------------------------


class DeclarationError(FanwoodError):
    """The program declares something that can't be; found before anything runs."""


class DuplicateTaskError(DeclarationError):
    """Two tasks or workflows have one name."""


class WorkflowDeclarationError(DeclarationError):
    """The steps of a workflow don't form a DAG: a cycle, an unknown parent, or a double name."""


class SettingsError(DeclarationError, ValueError):
    """A setting, or an option of a declaration, is unknown, malformed or impossible."""


# --- at a call -----------------------------------------------------------------------------------------------------


class UsageError(FanwoodError, ValueError):
    """A call that can't be right where it stands."""


class BlockingCallError(UsageError):
    """A blocking call on a thread that runs an event loop; the message names the `aio_` twin."""


class UnknownTaskError(UsageError):
    """No task of that name is known."""


class NotInTaskError(UsageError):
    """The call needs a running task and there is none."""


class EngineClosedError(UsageError):
    """The `Fanwood` object was closed, or its store is gone."""


class TooManyWaitingThreadsError(UsageError):
    """As many sync runs wait for children as the worker has threads for waiting."""


# --- values --------------------------------------------------------------------------------------------------------


class PayloadError(FanwoodError, ValueError):
    """A value that can't travel between runs."""


class InputValidationError(PayloadError):
    """An input doesn't fit the task's declared type.

    `problems` holds one `(path, message)` pair per problem; all of them, not just the first.
    """

    def __init__(self, subject: str, problems: Sequence[tuple[str, str]]) -> None:
        self.subject = subject
        self.problems = list(problems)
        count = len(self.problems)
        lines = "".join(f"\n  {path or '(the value itself)'}: {message}" for path, message in self.problems)
        super().__init__(f"{subject}: {count} problem{'s' if count != 1 else ''}{lines}")


class PayloadEncodingError(PayloadError):
    """A value has no JSON form, or its JSON is nested too deep to be read. `path` says where in the value, e.g.
    `output.items[3].when`."""

    def __init__(self, subject: str, path: str, reason: str, verb: str = "encoded") -> None:
        self.subject = subject
        self.path = path
        self.reason = reason
        super().__init__(f"{subject} can't be {verb}: {path}: {reason}")


class PayloadTooLargeError(PayloadError):
    """A value's JSON is over the limit (`max_payload_bytes`)."""

    def __init__(self, subject: str, size: int, limit: int, *, advice: str = "") -> None:
        self.subject = subject
        self.size = size
        self.limit = limit
        if not advice:
            advice = "Store it elsewhere and pass a reference, or raise max_payload_bytes (FANWOOD_MAX_PAYLOAD_BYTES)."
        super().__init__(f"{subject} is {size:,} bytes of JSON, over the limit of {limit:,}. {advice}")


# --- spawning ------------------------------------------------------------------------------------------------------


class SpawnError(FanwoodError):
    """A run that can't be spawned."""


class ChildKeyConflictError(SpawnError):
    """A child key is taken, below this parent, by a child with another task or input."""


class IdempotencyConflictError(SpawnError):
    """An idempotency key is taken, in this namespace, by a root with another task or input."""


class BudgetExceeded(SpawnError):
    """It would use more than there is: of a budget, or of what a tree may have. Nothing of it was done."""

    limit: str = ""
    """Which limit: "depth", "runs", "seconds", or a unit of a budget's own, such as "usd"."""
    most: Decimal | int = 0
    """How much that allows."""
    used: Decimal | int = 0
    """How much of it is taken: used, reserved, or given to children as their part."""
    wanted: Decimal | int = 0
    """How much more was asked for."""
    held: Decimal | int = 0
    """How much of what is taken is only held: reserved, or given to children. It may come back."""
    run_id: str = ""
    """By whom."""
    owner: str = ""
    """Whose budget it is: the run that it was given to. Empty: a setting's limit."""
    root_id: str = ""
    """The root of the tree."""


class AttemptFencedError(SpawnError):
    """The attempt that asks is over: it was cancelled, timed out or lost its lease, or its code has ended."""

    attempt: tuple[bytes | None, int] = (None, 0)
    """Whose spawn was refused, and in which attempt."""


# --- runs ----------------------------------------------------------------------------------------------------------


class RunNotFoundError(FanwoodError):
    """No run has that id in this store."""


class PromiseTokenError(FanwoodError, ValueError):
    """A text is no token of a promise of this store: it is cut short, mistyped, or of another one."""


class PromiseSettledError(FanwoodError):
    """A promise is to be settled, and has ended. `state` says how: COMPLETED (it was resolved), FAILED (it was
    rejected, or its time ran out), CANCELLED (its run has ended, or somebody cancelled it)."""

    def __init__(self, message: str, state: object = None) -> None:
        super().__init__(message)
        self.state = state


class EventConflictError(FanwoodError, ValueError):
    """An event is pushed under an id that belongs to another one, with another key, payload or scope."""


class RunEndedError(FanwoodError):
    """A message is sent to a run that has ended, or ends with something above it: nobody would receive it."""


class WaitTimeoutError(FanwoodError, TimeoutError):
    """A wait's own timeout ran out; the run itself goes on."""


# --- the store -----------------------------------------------------------------------------------------------------


class StoreError(FanwoodError):
    """The database. The message names its path or URL, never a password."""


class StoreForeignError(StoreError):
    """The file or database is not one of ours."""


class StoreReadOnlyError(StoreError):
    """The database can't be written to."""


class StoreSchemaError(StoreError):
    """The database has a schema that this version doesn't know."""


class StoreFullError(StoreError):
    """No space left on the device. Nothing acknowledged is lost; work goes on when there is room again."""


class StoreBusyError(StoreError):
    """Another process held the database's lock for too long."""


class StoreValueError(StoreError):
    """A value that the database can't hold: out of a column's range, too large, or of no type that it has."""


class StoreUnavailableError(StoreError):
    """The database can't be opened or reached."""


# --- outcomes ------------------------------------------------------------------------------------------------------


class TaskRunError(FanwoodError):
    """A run ended without a result. `str()` names the task and the cause in one line.

    `exc_type` and `message` are those of the exception that the task raised, `traceback` is its text. They are
    data: no exception class is ever looked up by a stored name.
    """

    limit: str = ""
    """Which limit, if it ran into one: of its time (`TaskRunTimedOut`), or of a budget ("runs", "usd")."""
    owner: str = ""
    """The run that set that limit, or whose budget it is; empty: a setting."""
    within: bool = False
    """That budget is the failed run's own, or that of a run below it: run again, it has that anew."""

    def __init__(self, run_id: str, task_name: str, exc_type: str = "", message: str = "", traceback: str = "") -> None:
        self.run_id = run_id
        self.task_name = task_name
        self.exc_type = exc_type
        self.message = message
        self.traceback = traceback
        super().__init__(run_id, task_name, exc_type, message, traceback)

    @property
    def exc(self) -> str:
        """The same as `message`."""
        return self.message

    @property
    def trace(self) -> str:
        """The same as `traceback`."""
        return self.traceback

    @property
    def task_run_external_id(self) -> str:
        """The same as `run_id`."""
        return self.run_id

    def serialize(self, include_metadata: bool = False) -> str:  # noqa: FBT001, FBT002  (theirs)
        """Type, message and traceback as one text; with `include_metadata` the run's id as well, in a line of JSON."""
        text = f"{self.exc_type or type(self).__name__}: {self.message}\n{self.traceback}"
        return f'{text}\n{{"task_run_external_id": "{self.run_id}"}}' if include_metadata else text

    def __str__(self) -> str:
        cause = ": ".join(part for part in (self.exc_type, " ".join(self.message.split())) if part)
        return f"{self.task_name} failed: {cause or 'no cause was recorded'} (run {self.run_id})"


class TaskRunCancelled(TaskRunError):
    """The run was cancelled: by a call, or because its parent ended."""

    def __str__(self) -> str:
        return f"{self.task_name} was cancelled: {self.message or 'no reason was given'} (run {self.run_id})"


class TaskRunTimedOut(TaskRunError, TimeoutError):
    """A limit ran out. `limit` is `schedule_timeout`, `execution_timeout`, `deadline`, or the `timeout` of a wait;
    `owner` is the id of the run that set it (the run itself, or the ancestor whose deadline was inherited)."""

    def __init__(  # the five of the base, and the two that a time-out adds
        self,
        run_id: str,
        task_name: str,
        exc_type: str = "",
        message: str = "",
        traceback: str = "",
        limit: str = "",
        owner: str = "",
    ) -> None:
        super().__init__(run_id, task_name, exc_type, message, traceback)
        self.limit = limit
        self.owner = owner
        self.args = (run_id, task_name, exc_type, message, traceback, limit, owner)

    def __str__(self) -> str:
        return f"{self.task_name} timed out: {self.message or self.limit} (run {self.run_id})"


class TaskRunPoisoned(TaskRunError):
    """The run was executing on too many workers in a row that died, and is not tried again."""


class FailedTaskRunExceptionGroup(ExceptionGroup[TaskRunError]):
    """What a workflow raises whose tasks failed: one `TaskRunError` for each failed task. `str()` says why each did."""

    def __str__(self) -> str:
        return self.message

    def derive(self, excs: Sequence[TaskRunError]) -> FailedTaskRunExceptionGroup:  # pyright: ignore[reportIncompatibleMethodOverride]  # narrower on purpose: the group holds nothing else
        return FailedTaskRunExceptionGroup(self.message, excs)


# --- raised by tasks, and into them --------------------------------------------------------------------------------


class NonRetryableException(Exception):  # noqa: N818  (the name that users of the field's SDKs know)
    """Raise it in a task to fail the run at once, whatever retries are left."""


class RetryAfterException(Exception):  # noqa: N818  (as above)
    """Raise it in a task to be tried again `after` a while (a timedelta, seconds, or text such as "5m"; 0: at once); it
    uses up one retry.

    Raises:
        UsageError: that is no duration.
    """

    __reduce__ = _reduce

    def __init__(self, message: str = "", *, after: Duration) -> None:
        super().__init__(message)
        try:
            self.after = timedelta(seconds=parse(after))
        except ValueError as problem:
            raise UsageError(f"after {problem}") from None


class RunInterrupted(BaseException):
    """Raised inside a sync task, at its next Fanwood call, once its attempt is over: cancelled, timed out or fenced."""


class RunStartsOver(BaseException):
    """Raised by `ctx.start_over`, so that the run's code comes to its end. Let it pass."""


class NonDeterminismError(FanwoodError, NonRetryableException):
    """The code of a durable run does not ask again for what is recorded of it: it is other code than that which began
    it, or decides by what is another each time (the time, say). Its message shows both. The run is not tried again."""
