"""What a worker's log says of its runs: every retry, every failure, and completions for who asks for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fanwood.ids import hex_text
from fanwood.model.states import RunState
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from fanwood.model.commands import Outcome
    from fanwood.sdk.attempt import Attempt

logger = logging.getLogger("fanwood.runs")
logger.addHandler(logging.NullHandler())  # a script without logging has the exceptions, and needs no second telling
completions = logging.getLogger("fanwood.runs.completed")
completions.setLevel(logging.WARNING)  # there may be thousands a second: INFO is for who sets it

PREVIEW = 200
"""Characters of an input."""


def tell(attempt: Attempt, outcome: Outcome) -> None:
    """Log how an attempt ended. The records have the attributes that `RunContextFilter` gives those of tasks."""
    if outcome.state is RunState.COMPLETED:
        if completions.isEnabledFor(logging.INFO):
            completions.info("%s completed in %.3g s", attempt.run.task, outcome.busy / 1e6, extra=context_of(attempt))
    elif outcome.error is not None:
        _tell_failure(attempt, outcome, outcome.error)


def context_of(attempt: Attempt) -> dict[str, object]:
    """Which run a record is about."""
    run = attempt.run
    return {"run": hex_text(run.id), "root": hex_text(run.root_id), "attempt": run.attempt, "task": run.task}


def _tell_failure(attempt: Attempt, outcome: Outcome, error: str) -> None:
    run, failure = attempt.run, decode_failure(error)
    why = ": ".join(part for part in (failure.type, failure.message) if part) or failure.kind
    retries = attempt.spec.policy.retries
    if outcome.retry:
        when = f"in {outcome.delay / 1e6:.3g} s" if outcome.delay else "at once"
        logger.warning(
            "%s failed and is tried again %s (attempt %d, retry %d of %d): %s",
            run.task, when, run.attempt, run.retry_count + 1, retries, why, extra=context_of(attempt),
        )  # fmt: skip
        return
    trace = f"\n{failure.traceback.rstrip()}" if failure.traceback else ""
    preview = run.input if len(run.input) <= PREVIEW else f"{run.input[:PREVIEW]}..."
    logger.error(
        "%s failed (run %s, attempt %d, input %s): %s%s",
        run.task, hex_text(run.id), run.attempt, preview, why, trace, extra=context_of(attempt),
    )  # fmt: skip
