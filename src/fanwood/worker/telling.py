"""What a worker's log says of its runs: every retry, every failure, and completions for who asks for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fanwood.checks import cut
from fanwood.ids import hex_text
from fanwood.logs import note_failure
from fanwood.model.commands import Failure, Notice, Outcome
from fanwood.model.states import RunState
from fanwood.sdk.declaring.hooks import RunEvent
from fanwood.sdk.running.log_context import context_of
from fanwood.store.failures import decode_failure, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.sdk.running.attempt import Attempt

logger = logging.getLogger("fanwood.runs")
logger.addHandler(logging.NullHandler())  # a script without logging has the exceptions, and needs no second telling
completions = logging.getLogger("fanwood.runs.completed")
completions.setLevel(logging.WARNING)  # there may be thousands a second: INFO is for who sets it

_WHAT = {RunState.COMPLETED: "complete", RunState.QUEUED: "retry", RunState.FAILED: "failure"}
"""Which hooks are told of what a task's code came to."""
_FROM_OUTSIDE = {RunState.FAILED: "failure", RunState.CANCELLED: "cancel"}
"""Which hooks are told that a run ended while it was executing."""
PREVIEW = 200
"""Characters of an input."""


def said_in(notice: Notice) -> Failure:
    """Why an attempt is over, of which that is said."""
    if notice.state is RunState.COMPLETED:
        return Failure("cancelled", message="its hedge was quicker, and completed it")
    return decode_failure(notice.error)


def tell_all(ended: Sequence[tuple[Attempt, Outcome | None]]) -> None:
    """`tell` of each that has an outcome. Most have completed, and nobody wants to hear of it."""
    quiet = not completions.isEnabledFor(logging.INFO)
    for attempt, outcome in ended:
        if outcome is None or (quiet and outcome.state is RunState.COMPLETED and not attempt.host.hooks.of):
            continue
        tell(attempt, outcome)


def tell(attempt: Attempt, outcome: Outcome) -> None:
    """Log how an attempt ended, and have the application's hooks called. The records have the attributes that
    `RunContextFilter` gives those of tasks. A handler of the user's may raise; what has ended has ended."""
    try:
        _tell(attempt, outcome)
    except Exception:  # noqa: BLE001
        note_failure(logger.name)
    if attempt.host.hooks.of:
        _tell_hooks(attempt, outcome)


def tell_of_notice(attempt: Attempt, notice: Notice) -> None:
    """Have the hooks called of a run that executes here and was ended from outside: cancelled, mostly."""
    hooks = attempt.host.hooks
    what = _FROM_OUTSIDE.get(notice.state, "")
    if what in hooks.of and attempt.interruption is None:
        outcome = Outcome(notice.run_id, notice.attempt, notice.state, error=notice.error, busy=attempt.busy)
        hooks.tell(what, _event(attempt, outcome))


def _tell_hooks(attempt: Attempt, outcome: Outcome) -> None:
    hooks = attempt.host.hooks
    what = _WHAT.get(outcome.state, "")
    if what in hooks.of and (outcome.retry or outcome.state is not RunState.QUEUED):  # and not handed back
        hooks.tell(what, _event(attempt, outcome))
    attempt.raised = None


def _event(attempt: Attempt, outcome: Outcome) -> RunEvent:
    run, failure = attempt.run, None if outcome.error is None else decode_failure(outcome.error)
    return RunEvent(
        task_name=run.task,
        run_id=hex_text(run.id),
        root_id=hex_text(run.root_id),
        parent_id=hex_text(run.parent_id) if run.parent_id else None,
        attempt=run.attempt,
        retry_count=run.retry_count,
        seconds=outcome.busy / 1e6,
        retry_in=outcome.delay / 1e6 if outcome.retry else None,
        error=None if failure is None else summary(failure),
        traceback="" if failure is None else failure.traceback,
        exception=attempt.raised,
        raw_input=run.input,
        raw_metadata=run.metadata or "{}",
    )


def _tell(attempt: Attempt, outcome: Outcome) -> None:
    if outcome.state is RunState.COMPLETED:
        if completions.isEnabledFor(logging.INFO):
            completions.info(
                "%s completed in %.3g s", attempt.run.task, outcome.busy / 1e6, extra=context_of(attempt.run)
            )
    elif outcome.error is not None and (outcome.retry or outcome.state is not RunState.QUEUED):  # and not put off
        _tell_failure(attempt, outcome, outcome.error)


def _tell_failure(attempt: Attempt, outcome: Outcome, error: str) -> None:
    run, failure = attempt.run, decode_failure(error)
    why = summary(failure)
    retries = attempt.spec.policy.retries
    if outcome.retry:
        when = f"in {outcome.delay / 1e6:.3g} s" if outcome.delay else "at once"
        logger.warning(
            "%s failed and is tried again %s (attempt %d, retry %d of %d): %s",
            run.task, when, run.attempt, run.retry_count + 1, retries, why, extra=context_of(attempt.run),
        )  # fmt: skip
        return
    trace = f"\n{failure.traceback.rstrip()}" if failure.traceback else ""
    preview = cut(run.input, PREVIEW)
    logger.error(
        "%s failed (run %s, attempt %d, input %s): %s%s",
        run.task, hex_text(run.id), run.attempt, preview, why, trace, extra=context_of(attempt.run),
    )  # fmt: skip
