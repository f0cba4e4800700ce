"""What came of an attempt, as a value: its function returned, or raised, or its time was up.

Nothing is written here and nothing is run but the codecs; the engine writes what these functions return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.durations import LONGEST
from fanwood.errors import (
    AttemptFencedError,
    BudgetExceeded,
    FailedTaskRunExceptionGroup,
    InputValidationError,
    NonRetryableException,
    PayloadError,
    PayloadTooLargeError,
    RetryAfterException,
    RunInterrupted,
    TaskRunError,
)
from fanwood.ids import id_text
from fanwood.model.commands import ClaimedRun, Failure, Outcome
from fanwood.model.states import RunState
from fanwood.sdk.declaring.outcomes import failure_of, group_failure, name_of, parts_of
from fanwood.store.failures import deadline_passed, encode_failure

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt

KEPT_MESSAGE, KEPT_TRACEBACK = 4_000, 12_000
"""Characters that are kept of an attempt that is tried again, as many attempts are kept: the beginning, and the end."""


class UnleasedError(Exception):
    """Without a lease nothing begins: what is below a cancelled run has been waited for no longer than that."""


def completed(attempt: Attempt, value: Any) -> Outcome:
    """Its function returned.

    Raises:
        PayloadError: what it returned can't travel.
    """
    spec, run, limit = attempt.spec, attempt.run, attempt.host.settings.max_payload_bytes
    attempt.in_function = False
    if attempt.renewal is not None:
        return _starts_over(attempt, attempt.renewal)
    output = spec.output.encode(value, f"the output of {spec.name}", "output")
    if len(output) > limit:
        raise PayloadTooLargeError(f"the output of {spec.name}", len(output), limit)
    closes = attempt.cancel_children or (run.attempt > 1 and not attempt.is_first)
    return Outcome(
        attempt.id, run.attempt, RunState.COMPLETED, output.decode(), None, closes=closes, parent=run.parent_id
    )


def raised(attempt: Attempt, error: BaseException) -> Outcome:
    """It raised; even something whose class fights back when it is looked at."""
    if attempt.renewal is not None:
        return _starts_over(attempt, attempt.renewal)
    try:
        return _judged(attempt, error)
    except BaseException as broken:  # noqa: BLE001  (the run must end, whatever a user's class does)
        message = f"(the exception could not be looked at: that raised {type(broken).__name__})"
        return failed(attempt, Failure("failed", name_of(error), message))


def _judged(attempt: Attempt, error: BaseException) -> Outcome:
    if isinstance(error, AttemptFencedError) and error.attempt == (attempt.id, attempt.run.attempt):
        return handed_back(attempt.run)  # it ends as what it was closed for; unless it was asked for anew since then
    if attempt.spec.kind == "workflow" and isinstance(error, FailedTaskRunExceptionGroup):
        failure = group_failure(error)
    else:
        failure = failure_of(error)
        failure.within = failure.within or failure.owner == id_text(attempt.id)
    if isinstance(error, InputValidationError):
        failure.message = str(error)
    # Its own input or output won't fit the next time either; a payload error from within is like any other.
    payload = isinstance(error, PayloadError) and not attempt.in_function
    final = payload or isinstance(error, (NonRetryableException, RunInterrupted)) or _is_spent(error)
    if final or not _has_retries(attempt):
        return failed(attempt, failure)
    if isinstance(error, RetryAfterException):
        return _retry(attempt, failure, max(0.0, error.after.total_seconds()))
    return _retry(attempt, failure, _backoff(attempt))


def _starts_over(attempt: Attempt, input_: str) -> Outcome:
    """Its code said so, whatever came after that."""
    return Outcome(attempt.id, attempt.run.attempt, RunState.QUEUED, input_, renews=True)


def timed_out(attempt: Attempt) -> Outcome:
    """Its limit has come: its own, which a retry may heal, or an ancestor's, which nothing does."""
    spec = attempt.spec
    _, owner = attempt.deadline
    if owner is not None and owner != attempt.id:
        return failed(attempt, deadline_passed(spec.name, owner))
    limit = (spec.policy.execution_limit or 0) / 1e6
    failure = Failure(
        "timed_out",
        type="TimeoutError",
        message=f"execution_timeout of {limit:g} s of {spec.name} ran out (attempt {attempt.run.attempt})",
        limit="execution_timeout",
        owner=id_text(attempt.id),
    )
    return _retry(attempt, failure, _backoff(attempt)) if _has_retries(attempt) else failed(attempt, failure)


def handed_back(run: ClaimedRun) -> Outcome:
    """It goes back to the queue, and nothing is charged."""
    return Outcome(run.key, run.attempt, RunState.QUEUED)


def failed(attempt: Attempt, failure: Failure) -> Outcome:
    """It failed for good."""
    error, run = encode_failure(failure), attempt.run
    return Outcome(
        attempt.id, run.attempt, RunState.FAILED, None, error, closes=attempt.may_have_children, parent=run.parent_id
    )


def _retry(attempt: Attempt, failure: Failure, pause: float) -> Outcome:
    failure.message, failure.traceback = failure.message[:KEPT_MESSAGE], failure.traceback[-KEPT_TRACEBACK:]
    error, delay = encode_failure(failure), round(min(pause, LONGEST) * 1e6)
    return Outcome(attempt.id, attempt.run.attempt, RunState.QUEUED, None, error, retry=True, delay=delay)


def _is_spent(error: BaseException) -> bool:
    """Whether a budget refused it, or a child of it, that another try would meet as it is. (A part that the child,
    or one below, was given is taken anew by a try.) An endless recursion would else be tried again on each of its
    thousand levels, below all others."""
    return any(map(_is_spent_itself, parts_of(error)))


def _is_spent_itself(error: BaseException) -> bool:
    if type(error) is TaskRunError and error.exc_type == BudgetExceeded.__name__ and error.limit:
        return not error.within
    return isinstance(error, BudgetExceeded)


def _has_retries(attempt: Attempt) -> bool:
    return attempt.run.retry_count < attempt.spec.policy.retries


def _backoff(attempt: Attempt) -> float:
    return attempt.spec.policy.backoff(attempt.run.retry_count, attempt.host.ids.jitter())
