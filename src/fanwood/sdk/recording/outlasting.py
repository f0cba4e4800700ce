"""Children that the code of a durable run had given up, and asks for once more as it is run again: they are cancelled,
but that is not what the code was told. A timer of its event loop begins anew with the code, so it is waited for, and
ends the wait as it did before; so does what else had come first, a reference say, which may take its time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.engine.signals import Signal, running_loop
from fanwood.model.states import RunState
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.waiting import parked
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from fanwood.engine.waits import Collector

GIVEN_UP = "who waited for it was cancelled"
"""Why a child was cancelled that its parent gave up."""
BROKEN_OFF = "the block of its group raised "
"""... and what that was, of a member whose group was broken off."""
LONGEST_NAME = 200
FIRST_PAUSE, LAST_PAUSE = 0.01, 0.5
TURNS = 10
"""Of the loop."""


async def outlast(collector: Collector) -> None:
    """Its waiter has asked for what it waited for, and something of that has failed. If that is because it was given
    up, return only once no timer is left that was set before; most likely one of them cancels this wait."""
    attempt, loop = current_attempt.get(), running_loop()
    unloading = attempt.unloading if attempt is not None and not attempt.code_ended else None
    if attempt is None or unloading is None or loop is None or not _was_given_up(collector):
        return
    await _turns()  # in which what was begun beside it sets its timers
    end, seconds = unloading.last_timer(), FIRST_PAUSE
    while end is not None and loop.time() <= end and unloading.last_timer() is not None:
        attempt.host.engine().later(seconds, (signal := Signal()).fire)  # a timer of the loop would be one of those
        await parked(attempt, signal)
        attempt.check()
        seconds = min(LAST_PAUSE, 2 * seconds)
    await _turns()  # what the last one ends is told so
    await unloading.hold()


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _was_given_up(collector: Collector) -> bool:
    ends = (end for end in collector.results if end is not None and not isinstance(end, str))
    return any(is_given_up(end.state, end.error) for end in ends)


def broken_off(error: BaseException) -> str:
    """Why a member of a group is cancelled whose block raised this."""
    return BROKEN_OFF + type(error).__name__[:LONGEST_NAME].encode(errors="replace").decode()


def is_given_up(state: RunState, error: str | None) -> bool:
    """Whether a child that ended so was given up by its parent."""
    if state is not RunState.CANCELLED:
        return False
    why = decode_failure(error).message
    return why == GIVEN_UP or why.startswith(BROKEN_OFF)
