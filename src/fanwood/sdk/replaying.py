"""Code of a durable run that is run again from the top: how far it does what it did before.

It is *replaying* until it asks for something that is not recorded, or is given an end that it had not been given when
it was unloaded (`ClaimedRun.pending`). Until then it says nothing: it was said before. Of an attempt that was not
unloaded, since its worker died say, nobody knows what it had been given; it is taken for all but what was recorded
last, so that a line may be said twice, and is never left out.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from fanwood.engine.signals import block
from fanwood.sdk.recalling import learn
from fanwood.sdk.recording import known_parts
from fanwood.sdk.sameness import Sameness
from fanwood.sdk.waiting import called

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.sdk.attempt import Attempt

ID_DIGITS = 32


def replayed(attempt: Attempt, function: Callable[..., Any], may_begin: Callable[[], None]) -> Callable[..., Any]:
    """The function of a durable run that was begun before. `may_begin` raises if it must not begin after all, since the
    look at the store took too long."""
    if (text := attempt.run.pending) is not None:
        attempt.replay = {bytes.fromhex(text[at : at + ID_DIGITS]) for at in range(0, len(text), ID_DIGITS)}
    if attempt.spec.kind != "workflow":  # what coordinates one asks for no more than it needs
        attempt.same = Sameness(attempt, is_strict=attempt.spec.strict)
    looks = attempt.run.pending is None or attempt.spec.strict
    if attempt.spec.is_async:

        @wraps(function)
        async def aio_call(*arguments: Any) -> Any:
            await _look(attempt)
            may_begin()
            result = await function(*arguments)
            _check(attempt)
            return result

        return aio_call if looks else function

    @wraps(function)
    def call(*arguments: Any) -> Any:
        block(_look(attempt), "the beginning of a run")
        may_begin()
        result = function(*arguments)
        _check(attempt)
        return result

    return call if looks else function


async def _look(attempt: Attempt) -> None:
    engine = attempt.host.engine()
    if (same := attempt.same) is not None and same.is_strict:
        await called(engine.call(same.learn, steadfast=True))
    if attempt.run.pending is not None:
        return
    parts = await known_parts(attempt)
    await learn(attempt)
    ids = [*(attempt.known or {}).values(), *(each.id for each in parts.found.values())]
    if ids:
        attempt.replay = {max(ids)}


def _check(attempt: Attempt) -> None:
    """Its code has come to its end.

    Raises:
        NonDeterminismError: without asking for all that it had asked for.
    """
    if (same := attempt.same) is not None and same.is_strict and same.unasked():
        raise same.error()
