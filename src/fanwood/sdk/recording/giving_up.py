"""Waits that the own code of a durable run has given up, by a timer of its event loop, in a race, as a sibling failed.

What came of that may be recorded afterwards: so that is recorded before. Code that is run again comes to the same wait,
which then ends as it did: if a limit of the code's own had ended it (`running/limits.py`), that is over at once; else
the wait goes on until it is given up, whatever has come since. Once nothing can be seen that would do that, it is other
code, and is told what has come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fanwood.engine.signals import Signal, running_loop
from fanwood.model.commands import Record
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.recording.once import doing, in_a_step
from fanwood.sdk.recording.outlasting import FIRST_PAUSE, LAST_PAUSE, is_ending, turns
from fanwood.sdk.recording.patience import of_this_trial
from fanwood.sdk.recording.recording import kind_of, known_parts, note
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.waiting import called, parked

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.unloads import Unloads

SHOWN = msgspec.json.encode({"step": "given up"}).decode()


class may_give_up:  # noqa: N801  (reads as the statement that it is)
    """While inside, the code waits. `of`: for what. If it was given up before, it is again as that is entered."""

    def __init__(self, of: bytes) -> None:
        self._of = of
        self._attempt: Attempt | None = None
        self._identity = b""

    async def __aenter__(self) -> None:
        attempt = doing()
        if attempt is None or in_a_step() or running_loop() is None:
            return
        parts = await known_parts(attempt)
        with registering:
            identity = attempt.identify(None, content_digest("~given up", self._of))
            self._identity, found = of_this_trial(attempt, parts, identity)
            if found is not None:
                attempt.children += 1
            else:
                self._attempt = attempt
        if found is not None:
            attempt.given((found.id,))
            await _again(attempt, msgspec.json.decode(found.output or "null"))

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        attempt = self._attempt
        if attempt is None or not isinstance(error, asyncio.CancelledError):
            return
        limit = attempt.unloading.limit_over() if attempt.unloading is not None else None
        is_over = attempt.interruption is not None or attempt.code_ended or attempt.gave_back
        if is_over or (limit is None and is_ending(attempt)):
            return  # nobody has given anything up: the attempt is over
        attempt.replay = None  # this is new
        with registering:
            index = attempt.children
            attempt.children += 1
        # Not waited for: it goes before whatever is written next, and until then nothing depends on it.
        kind, done, output = kind_of(attempt, RunKind.RECORDED), RunState.COMPLETED, msgspec.json.encode(limit).decode()
        note(attempt, Record(kind, attempt.new_id(), self._identity, SHOWN, done, index, output=output))


async def _again(attempt: Attempt, limit: int | None) -> None:
    """It was given up before: because of that limit of its code's, if it is known. Returns if it is not given up once
    more."""
    unloading: Unloads | None = attempt.unloading
    await turns()  # in which what was begun beside it sets its timers
    if unloading is None:
        return
    if limit is not None:
        unloading.end_limit(limit)
        await turns()
    seconds, engine = FIRST_PAUSE, attempt.host.engine()
    with unloading.among():
        while True:
            if unloading.is_still() and await called(engine.call(unloading.stands, steadfast=True)):
                if unloading.is_still() and not unloading.end_race() and unloading.last_timer() is None:
                    return
                await turns()
            engine.later(seconds, (signal := Signal()).fire)  # a timer of the loop would be one of the code's
            await parked(attempt, signal)
            attempt.check()
            seconds = min(LAST_PAUSE, 2 * seconds)
