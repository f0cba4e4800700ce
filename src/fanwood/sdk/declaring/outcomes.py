"""From how a run ended to what its waiter gets: the output, or one kind of error for every path."""

from __future__ import annotations

import contextlib
import traceback as tracebacks
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood import logs
from fanwood.errors import (
    BudgetExceeded,
    FailedTaskRunExceptionGroup,
    InputValidationError,
    RunNotFoundError,
    TaskRunCancelled,
    TaskRunError,
    TaskRunPoisoned,
    TaskRunTimedOut,
)
from fanwood.ids import id_bytes, id_text
from fanwood.model.commands import Failure
from fanwood.model.states import RunState
from fanwood.sdk.declaring.ways import with_step
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fanwood.codec import Codec
    from fanwood.model.commands import Ended

logger = logs.logger("fanwood")

MAX_TEXT = 64 * 1024
"""How much of an exception's message or traceback is kept."""
MOST_PARTS = 10_000
"""Of a group whose traceback shows them: Python goes through what is there twice two times, with all that is in it."""


_NAME: Any = type.__dict__["__name__"]
_FRAMES: Any = BaseException.__dict__["__traceback__"]
_MEMBERS: Any = BaseExceptionGroup.__dict__["exceptions"]
"""As they are, and not as a class may say."""


class FailedStep(msgspec.Struct):
    """A failed step of a workflow, inside the workflow's own failure."""

    run_id: str
    task: str
    failure: Failure


def result_of(finished: Ended, run_id: bytes, task: str, output: Codec[Any]) -> Any:
    """The output, typed.

    Raises:
        TaskRunError: there is none. Its subclasses say why.
        FailedTaskRunExceptionGroup: a workflow whose steps failed.
    """
    if finished.state is RunState.COMPLETED:
        return typed_output(finished.output, output, task)
    raise error_of(finished, run_id, task)


def typed_output(text: str | None, output: Codec[Any], task: str) -> Any:
    """An output as its return annotation says; as plain JSON if it does not fit it.

    Python holds nobody to his annotations, and a run that completed must not look failed to those who wait for it.
    """
    try:
        return output.decode(text or "null", f"the output of {task}")
    except InputValidationError as error:
        logger.warning("%s: it does not fit the return annotation, and is given as plain JSON", error)
        return plain_json(text or "null")


def plain_json(text: str) -> Any:
    """A stored value without a type; if it is no JSON, as somebody wrote it by hand, the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def error_of(finished: Ended, run_id: bytes, task: str) -> TaskRunError | FailedTaskRunExceptionGroup:
    """What a run that ended without an output raises in those who wait for it."""
    failure = decode_failure(finished.error)
    if finished.state is RunState.CANCELLED and failure.kind == "failed":
        failure.kind = "cancelled"
    if failure.group:
        with contextlib.suppress(msgspec.DecodeError, RunNotFoundError):  # else somebody wrote it by hand
            steps = [msgspec.json.decode(text, type=FailedStep) for text in failure.group]
            errors = [single_error(step.failure, id_bytes(step.run_id), step.task) for step in steps]
            return FailedTaskRunExceptionGroup(failure.message, errors)
    return single_error(failure, run_id, task)


def single_error(failure: Failure, run_id: bytes, task: str) -> TaskRunError:
    """A failure record as an exception. Its traceback goes with it as a note, which Python shows below the message."""
    error = _single_error(failure, run_id, task)
    error.limit, error.owner, error.within = failure.limit, failure.owner, failure.within
    if failure.traceback:
        error.add_note(f"\nin {task}, run {error.run_id}:\n{failure.traceback.rstrip()}")
    return error


def _single_error(failure: Failure, run_id: bytes, task: str) -> TaskRunError:
    about = (id_text(run_id), task, failure.type, failure.message, failure.traceback)
    if failure.kind == "cancelled":
        return TaskRunCancelled(*about)
    if failure.kind == "timed_out":
        return TaskRunTimedOut(*about, failure.limit, failure.owner)
    if failure.kind == "poisoned":
        return TaskRunPoisoned(*about)
    return TaskRunError(*about)


def failure_of(error: BaseException) -> Failure:
    """An exception as data. Survives exceptions whose own code raises.

    That of a child is told by its root cause, and then the way that it came.
    """
    if type(error) is TaskRunError:
        message = with_step(error.message, error.task_name, error.run_id)
        exc_type = _clean(error.exc_type)
        about = (_clean(message), _traceback(error), error.limit, error.owner)
        return Failure("failed", exc_type, *about, within=error.within)
    failure = Failure("failed", name_of(error), _message(error), _traceback(error))
    if isinstance(error, BudgetExceeded):
        failure.limit, failure.owner = _clean(str(error.limit)), _clean(str(error.owner))
    return failure


def name_of(error: BaseException) -> str:
    """The name of its class, whatever that says of itself."""
    return _clean(_NAME.__get__(type(error)))


def parts_of(error: BaseException) -> Iterator[BaseException]:
    """The exception; of a group all that is in it as well, each once, however deep it is and however often."""
    seen, left = set[int](), [error]
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            left += _members(one)


def _members(error: BaseException) -> Sequence[BaseException]:
    return _MEMBERS.__get__(error) if issubclass(type(error), BaseExceptionGroup) else ()


def _message(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except BaseException as broken:  # noqa: BLE001  (a user's __str__ may raise anything, and the run must still end)
        return f"(its __str__ raised {type(broken).__name__})"


def _traceback(error: BaseException) -> str:
    """The traceback's text, the user's frames only: ours lead up to the call and tell nobody anything."""
    with contextlib.suppress(BaseException):  # as above; formatting calls __str__ and __repr__
        if _can_be_shown(error):
            frames = tracebacks.TracebackException.from_exception(error, limit=-30)
            _drop_ours(frames)
            return _clean("".join(frames.format()))
    with contextlib.suppress(BaseException):  # it may have frames whose source can't be looked for
        return _clean("".join(tracebacks.format_tb(_FRAMES.__get__(error), limit=-30)))
    return ""


def _can_be_shown(error: BaseException) -> bool:
    """Whether Python's own code, which holds up all others, comes to an end with it."""
    seen, left, count = {id(error)}, [error], 0
    while left:
        one = left.pop()
        for before in (one.__cause__, one.__context__):
            if before is not None and id(before) not in seen:
                seen.add(id(before))
                left.append(before)
        members = _members(one)
        count += len(members)
        if count > MOST_PARTS:
            return False
        left += members
    return True


def _drop_ours(formatted: tracebacks.TracebackException) -> None:
    here = __file__.rsplit("sdk", 1)[0]
    theirs = [frame for frame in formatted.stack if not frame.filename.startswith(here)]
    if theirs:
        formatted.stack = tracebacks.StackSummary.from_list(theirs)


def _clean(text: str) -> str:
    """Text that every store can hold."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text):,} characters)"


def group_failure(group: FailedTaskRunExceptionGroup) -> Failure:
    """A workflow's failure as data, with that of each failed step."""
    steps = [
        FailedStep(error.run_id, error.task_name, _failure_again(error))
        for error in group.exceptions
        if isinstance(error, TaskRunError)
    ]
    texts = [msgspec.json.encode(step).decode() for step in steps]
    return Failure("failed", type(group).__name__, group.message, group=texts)


def _failure_again(error: TaskRunError) -> Failure:
    kinds: dict[type, str] = {TaskRunCancelled: "cancelled", TaskRunTimedOut: "timed_out", TaskRunPoisoned: "poisoned"}
    kind = kinds.get(type(error), "failed")
    about = (error.exc_type, error.message, error.traceback, error.limit, error.owner)
    return Failure(kind, *about, within=error.within)
