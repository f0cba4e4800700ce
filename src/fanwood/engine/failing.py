"""Attempts that end by what could not be recorded of them, though nobody waited for that.

What goes before whatever an attempt asks for next need not be waited for. If the store refuses it, code that runs again
would find something else than it had been told: so the run fails, whatever its code says in the end, or if it suspends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.checks import cut
from fanwood.engine.parts import REQUEST
from fanwood.model.commands import Failure, Outcome
from fanwood.model.states import RunState
from fanwood.store.failures import encode_failure

if TYPE_CHECKING:
    from fanwood.engine.inbox import Inbox
    from fanwood.engine.parts import Item
    from fanwood.errors import StoreValueError
    from fanwood.model.commands import Batch

logger = logs.logger("fanwood.engine")

MOST = 1_000
"""Attempts that are known: those that are lost, or never end, are forgotten."""
SHOWN = 200
"""Characters of what was to be recorded."""


class Failing:
    """Of one engine, on its loop."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._why: dict[tuple[bytes | None, int], StoreValueError] = {}

    def note(self, item: Item, error: StoreValueError) -> None:
        """The store has refused it."""
        if item.field != REQUEST or not item.what.needed:
            return
        (record,) = item.what.records
        run_id, attempt = item.what.parent
        self._why[run_id, attempt] = type(error)(f"{cut(record.input, SHOWN)} can't be recorded: {error}")
        if len(self._why) > MOST:
            del self._why[next(iter(self._why))]

    def judge(self, batch: Batch) -> None:
        """Those that end in this batch, or suspend, fail."""
        if not self._why:
            return
        for outcome in batch.outcomes:
            why = self._why.pop((outcome.run_id, outcome.attempt), None)  # (this commit may be split, and judged anew)
            if why is not None:
                fail(outcome, why)
        for suspend in list(batch.suspends):
            why = self._why.pop((suspend.run_id, suspend.attempt), None)
            if why is None:
                continue
            batch.suspends.remove(suspend)
            failed = Outcome(suspend.run_id, suspend.attempt, RunState.FAILED, busy=suspend.busy, local=False)
            fail(failed, why)
            batch.outcomes.append(failed)
            request = self._inbox.suspending.pop((suspend.run_id, suspend.attempt), None)
            if request is not None:
                request.on_done(True)


def fail(outcome: Outcome, error: StoreValueError) -> None:
    """What came of it was something else, which can not be."""
    logger.error("run %s fails: what came of it can't be stored: %s", outcome.run_id.hex(), error)
    outcome.state, outcome.output, outcome.retry, outcome.delay = RunState.FAILED, None, False, 0
    outcome.renews = False
    outcome.local = outcome.local and bool(outcome.parent)  # of one that was to go on nobody asked where its parent is
    outcome.error = encode_failure(Failure("failed", type(error).__name__, str(error)))
    outcome.closes = True
