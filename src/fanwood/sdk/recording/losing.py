"""What durable code has given up as something else came first: a race that another wait won, a `TaskGroup` of which a
branch failed. What was waited for may come all the same, later, and code that is run again would find both, and go
another way than it went. So it is recorded that the wait was given up; as the code comes to it again, it has no answer,
until it is given up as it was before (`Unloads.hold`).

A wait with a timer of the code's own around it is left out: timers begin anew with the code, and a loop that waits so
would leave a row behind with each round.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from fanwood.checks import MAX_KEY_LENGTH
from fanwood.engine.signals import running_loop
from fanwood.errors import EngineClosedError
from fanwood.model.commands import Record
from fanwood.model.naming import numbered
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.recording.once import doing, in_a_step
from fanwood.sdk.recording.recording import copied, kind_of, known_parts, note, one_end, parts_of
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts

TRIALS = 1 << 61
"""Added to the number of a trial: beyond all numbers of equal children."""


@contextlib.asynccontextmanager
async def losing(
    attempt: Attempt,
    identity: bytes,
    run_id: bytes,
    shown: str,
    *,
    below: Sequence[bytes] = (),
    asks: int | None = None,
) -> AsyncGenerator[None]:
    """While inside, the code waits for the end of what is recorded under `identity`. It comes to that only if it has
    not given this very wait up before, or can't any more. `below`: what is recorded that this wait would ask for.
    `asks`: how often it has waited for that before, if it may do so again once it was answered."""
    unloading, parts = attempt.unloading, parts_of(attempt)
    attempt.asks("", *below)
    rehearses = unloading is None and attempt.same is not None
    if running_loop() is None or in_a_step() or not (unloading is not None or rehearses):
        yield
        return
    with registering:
        times = parts.times.get(identity, 0) if asks is None else asks
        mark, was_given_up = _mark(attempt, parts, content_digest("~given up", identity + times.to_bytes(8, "big")))
    if unloading is None:
        if was_given_up:
            parts.times[identity] = times + 1
            attempt.host.engine().watch(run_id, one_end(), 0)  # (a rehearsal goes no further here)
        yield
        return
    is_timed = _is_timed(attempt, parts)
    try:
        if was_given_up and not is_timed:
            await unloading.hold()
        yield
    except asyncio.CancelledError:
        if asks is None:
            with registering:
                parts.times[identity] = times + 1
        goes_on = attempt.interruption is None and not attempt.code_ended
        if goes_on and not is_timed and not was_given_up:
            with contextlib.suppress(EngineClosedError):
                _note(attempt, mark, shown)
        raise


@contextlib.asynccontextmanager
async def losing_a_run(mark: bytes, run_id: bytes, shown: str, asks: int) -> AsyncGenerator[None]:
    """The same, of code that waits for a run, and does not own it. `mark`: by which that is found again."""
    attempt = doing()
    if attempt is None or running_loop() is None:
        yield
        return
    attempt.check()
    await known_parts(attempt)
    async with losing(attempt, content_digest("~given up", mark), run_id, shown, asks=asks):
        yield


def _mark(attempt: Attempt, parts: Parts, identity: bytes) -> tuple[bytes, bool]:
    """Under what it is recorded, in this trial, that a wait was given up; and whether it is. Under `registering`."""
    trials, mine = 0, identity
    while parts.found or attempt.fork is not None:
        found = parts.found.get(mine)
        if found is None and attempt.fork is not None:
            found = copied(attempt, attempt.fork, mine)
            if found is not None:
                parts.found[mine] = found
        if found is None:
            break
        attempt.asks("", mine)
        if found.asked >= attempt.run.trial_start:
            return mine, True
        trials += 1
        mine = numbered(identity, TRIALS + trials)
    return mine, False


def _note(attempt: Attempt, mark: bytes, shown: str) -> None:
    with registering:
        index = attempt.children
        attempt.children += 1
    text, key = msgspec.json.encode({"given up": shown}).decode(), f"given up: {shown}"[:MAX_KEY_LENGTH]
    kind, began = kind_of(attempt, RunKind.RECORDED), attempt.host.engine().store.now()
    id_ = attempt.new_id()
    note(attempt, Record(kind, id_, mark, text, RunState.COMPLETED, index, key, "null", began=began))


def _is_timed(attempt: Attempt, parts: Parts) -> bool:
    """Whether its code has set timers. (Looked at once in a turn of the loop, in which very many waits may begin.)"""
    if parts.is_timed is None:
        unloading = attempt.unloading
        parts.is_timed = unloading is not None and unloading.last_timer() is not None
        asyncio.get_running_loop().call_soon(_forget, parts)
    return parts.is_timed


def _forget(parts: Parts) -> None:
    parts.is_timed = None
