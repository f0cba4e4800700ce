"""Attempts whose time is up: their own, or that of a run above them, which may have moved meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fanwood.errors import EngineClosedError
from fanwood.store.failures import decode_failure
from fanwood.worker import verdicts
from fanwood.worker.telling import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.engine.engine import Engine
    from fanwood.model.commands import Failure
    from fanwood.sdk.running.attempt import Attempt

LOOKED_AT = 500
"""Deadlines that are looked at in one call, at most."""


class Deadlines:
    """Of one executor, which has these attempts `running`. Belongs to the engine's thread."""

    def __init__(
        self, engine: Engine, running: dict[str, Attempt], interrupt: Callable[[Attempt, Failure], None]
    ) -> None:
        self._engine = engine
        self._running = running
        self._interrupt = interrupt

    def reached(self, attempts: list[tuple[str, int]]) -> None:
        """The limits of these runs have come, as far as is known here."""
        due = [a for run, number in attempts if (a := self._running.get(run)) is not None and a.run.attempt == number]
        over = {attempt.id: attempt for attempt in due if attempt.deadline[1] == attempt.id}
        doubtful: list[Attempt] = []
        for attempt in [*over.values(), *(a for a in due if a.id not in over)]:
            if attempt.interruption is None and (attempt.id in over or attempt.deadline[1] in over):
                self.time_out(attempt)
            elif attempt.interruption is None:
                doubtful.append(attempt)
        for start in range(0, len(doubtful), LOOKED_AT):
            self._look_at_deadlines(doubtful[start : start + LOOKED_AT])

    def _look_at_deadlines(self, attempts: list[Attempt]) -> None:
        """Their deadlines are an ancestor's, which may have moved, and we were not told yet."""
        ids = [attempt.id for attempt in attempts]
        with contextlib.suppress(EngineClosedError):
            looked = self._engine.call(lambda store: store.deadlines(ids), steadfast=True)
            looked.add_done_callback(lambda done: self._judge(attempts, None if done.exception() else done.result()))

    def _judge(self, attempts: list[Attempt], deadlines: dict[bytes, int] | None) -> None:
        """These are their deadlines; None: nobody can say."""
        now = self._engine.store.now()
        for attempt in attempts:
            if attempt.interruption is not None or self._running.get(attempt.run.id) is not attempt:
                continue
            if deadlines is not None:
                attempt.run.deadline = deadlines.get(attempt.id)
            when, _ = attempt.deadline
            if when is not None and when <= now:
                self.time_out(attempt)
            elif when is not None:
                self._engine.set_limit(attempt.run.id, attempt.run.attempt, when)

    def time_out(self, attempt: Attempt) -> None:
        """Its time is up, unless its code has just ended."""
        outcome = verdicts.timed_out(attempt)
        outcome.busy = attempt.busy
        if not attempt.says_its_end():
            return
        self._interrupt(attempt, decode_failure(outcome.error))
        self._engine.report([outcome])
        tell(attempt, outcome)
