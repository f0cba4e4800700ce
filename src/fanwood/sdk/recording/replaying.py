"""Code of a durable run that is run again from the top: how far it does what it did before.

It is *replaying* until it asks for something that is not recorded, or is given an end that it had not been given when
it was unloaded (`ClaimedRun.pending`). Until then it says nothing: it was said before. Of an attempt that was not
unloaded, since its worker died say, nobody knows what it had been given; it is taken for all but what was recorded
last, so that a line may be said twice, and is never left out.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.engine.signals import block
from fanwood.model.commands import Record
from fanwood.model.naming import VERSION, version_id
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.versions import code_for
from fanwood.sdk.recording.recalling import learn
from fanwood.sdk.recording.recording import copied, kind_of, known_parts, parts_of, write, written
from fanwood.sdk.running.sameness import Sameness
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts

ID_DIGITS = 32


async def begun(attempt: Attempt) -> None:
    """The code of a durable run begins for the first time. Not before its version is committed: what it spawns could be
    kept without that (its worker dies, or the store refuses it), and then nobody would know which code goes on.

    Raises:
        SpawnError: it can't be: the attempt is over.
    """
    version = attempt.spec.policy.version
    if version is None:
        return
    parts_of(attempt).version = version
    shown = msgspec.json.encode({"step": "version", "args": [version]}).decode()
    kind, output = kind_of(attempt, RunKind.RECORDED), msgspec.json.encode(version).decode()
    id_, done = version_id(attempt.origin), RunState.COMPLETED
    await written(attempt, write(attempt, Record(kind, id_, attempt.mine(VERSION), shown, done, output=output)))


def version_of(attempt: Attempt) -> str | None:
    """The version of the code that began the run."""
    if attempt.spec.durable is None or attempt.spec.policy.version is None or attempt.is_mocked:
        return attempt.spec.policy.version
    return attempt.parts.version if attempt.parts is not None else None


def recall_version(attempt: Attempt, parts: Parts) -> None:
    """Take it from what is recorded."""
    found = parts.found.pop(attempt.mine(VERSION), None)
    if found is None and attempt.fork is not None:
        found = copied(attempt, attempt.fork, VERSION)
    if found is not None:
        parts.version = msgspec.json.decode(found.output or "null")


def replayed(attempt: Attempt, function: Callable[..., Any], may_begin: Callable[[], None]) -> Callable[..., Any]:
    """The function of a durable run, which may have been begun before. `may_begin` raises if it must not begin after
    all, since the look at the store took too long."""
    if attempt.is_first:
        return function if attempt.spec.policy.version is None else _after(begun, attempt, function, may_begin)
    if (text := attempt.run.pending) is not None:
        attempt.replay = {bytes.fromhex(text[at : at + ID_DIGITS]) for at in range(0, len(text), ID_DIGITS)}
    if attempt.spec.kind != "workflow":  # what coordinates one asks for no more than it needs
        attempt.same = Sameness(attempt, is_strict=attempt.spec.strict)
        attempt.asks("", attempt.mine(VERSION))
    if not (attempt.run.pending is None or attempt.spec.strict or attempt.spec.policy.version is not None):
        return function
    return _after(_look, attempt, function, may_begin)


def _after(
    first: Callable[[Attempt], Coroutine[Any, Any, None]],
    attempt: Attempt,
    function: Callable[..., Any],
    may_begin: Callable[[], None],
) -> Callable[..., Any]:
    """The function, after that."""
    if attempt.spec.is_async:

        @wraps(function)
        async def aio_call(*arguments: Any) -> Any:
            await first(attempt)
            may_begin()
            result = await function(*arguments)
            _check(attempt)
            return result

        return aio_call

    @wraps(function)
    def call(*arguments: Any) -> Any:
        block(first(attempt), "the beginning of a run")
        may_begin()
        result = function(*arguments)
        _check(attempt)
        return result

    return call


async def _look(attempt: Attempt) -> None:
    engine = attempt.host.engine()
    if (same := attempt.same) is not None and same.is_strict:
        await called(engine.call(same.learn, steadfast=True))
    parts = await known_parts(attempt)
    recall_version(attempt, parts)
    if parts.version is not None:
        take_up(attempt, parts.version)
    if attempt.run.pending is None and await _is_new(attempt, parts):
        await begun(attempt)  # it was claimed before, and no more
    elif parts.version is None:
        take_up(attempt, None)


def take_up(attempt: Attempt, version: str | None) -> None:
    """It goes on with the code that began it.

    Raises:
        UnservedError: this program does not have that.
    """
    if attempt.spec.versions is not None:
        attempt.spec = code_for(attempt.spec, version)


async def _is_new(attempt: Attempt, parts: Parts) -> bool:
    """Whether nothing is known of what it asked for; else it replays up to what that was last."""
    await learn(attempt)
    known, version = attempt.known or {}, attempt.mine(VERSION)
    ids = [
        *(id_ for identity, id_ in known.items() if identity != version),
        *(each.id for each in parts.found.values()),
    ]
    if ids:
        attempt.replay = {max(ids)}
    return not ids and parts.version is None


def _check(attempt: Attempt) -> None:
    """Its code has come to its end.

    Raises:
        NonDeterminismError: without asking for all that it had asked for.
    """
    if (same := attempt.same) is not None and same.is_strict and same.unasked():
        raise same.error()
