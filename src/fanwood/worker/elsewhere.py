"""Runs that began with a version of their code that this worker does not have: they wait for one that has it.

Each is handed back, and queued again a little later: another worker may take it then. Twice as late each time, so that
what nobody has the code for costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.model.commands import ClaimedRun, Failure, Outcome
from fanwood.model.states import RunState
from fanwood.sdk.declaring.versions import began
from fanwood.store.failures import UNSERVED, encode_failure

if TYPE_CHECKING:
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.versions import UnservedError

logger = logs.logger("fanwood.worker")

FIRST, LONGEST = 0.25, 60.0
"""Seconds after which one is queued again: at first, and at most."""
REMEMBERED, CROWDED = 10_000, 600.0
"""Of so many it is known how often they were here; others wait so many seconds. For twice as long it is known."""


class Elsewhere:
    """Of one executor. From any thread: what two threads do to one run at a time is harmless."""

    def __init__(self, host: Host) -> None:
        self._clock, self._ids = host.clock, host.ids
        self._counts, self._before = dict[str, int](), dict[str, int]()  # since a moment, and in as long before it
        self._since = self._clock.monotonic()
        self._said = set[tuple[str, str | None]]()

    def put_off(self, run: ClaimedRun, error: UnservedError) -> Outcome:
        """It is queued again later."""
        what = (error.task, error.version)
        if what not in self._said:
            self._said.add(what)
            logger.warning(
                "a run of %s %s, which this worker does not have: it waits for one that has it. (versions= of %s says "
                "which older code there is)", error.task, began(error.version), error.task,
            )  # fmt: skip
        pause = round(self._pause(run.id) * (1 - self._ids.jitter() / 10) * 1e6)
        why = encode_failure(Failure(UNSERVED, message=str(error)))
        return Outcome(run.key, run.attempt, RunState.QUEUED, None, why, delay=pause)

    def _pause(self, run_id: str) -> float:
        now = self._clock.monotonic()
        if now > self._since + 2 * CROWDED:
            self._before, self._counts, self._since = self._counts, {}, now
        count = self._counts.get(run_id) or self._before.get(run_id)
        if count is None and len(self._counts) >= REMEMBERED:
            return CROWDED
        self._counts[run_id] = (count or 0) + 1
        return min(LONGEST, FIRST * 2 ** min(count or 0, 20))
