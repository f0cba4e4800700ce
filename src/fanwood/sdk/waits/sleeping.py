"""Sleeps of a run: by the store's clock, and over whatever happens to its worker. And what it draws: times, numbers."""

from __future__ import annotations

import uuid
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from fanwood import checks
from fanwood.clock import moment
from fanwood.durations import in_microseconds
from fanwood.errors import UsageError
from fanwood.model.commands import SLEPT, Finished, Record
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.recording.losing import losing
from fanwood.sdk.recording.once import in_a_step
from fanwood.sdk.recording.recording import awaited, found_in, kind_of, known_parts, note, one_end, parts_of, write
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.own import ordered
from fanwood.sdk.running.parts import counts
from fanwood.sdk.running.waiting import begins, pause

if TYPE_CHECKING:
    from fanwood.durations import Duration
    from fanwood.engine.waits import Collector
    from fanwood.model.records import Recorded
    from fanwood.sdk.running.attempt import Attempt

SHORT = 1_000_000
"""Microseconds: a sleep of less is slept here first, and recorded after."""


async def sleep_for(attempt: Attempt, duration: Duration) -> None:
    """See `Context.sleep_for`."""
    span = in_microseconds(checks.seconds(duration, "duration", zero=True))
    await _sleep(attempt, f"for {span}", {"for": span / 1e6}, span, None)


async def sleep_until(attempt: Attempt, when: datetime) -> None:
    """See `Context.sleep_until`."""
    if not isinstance(when, datetime) or when.utcoffset() is None:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("when", "must be a datetime with a time zone, such as datetime.now(UTC)", when)
    at = round(when.timestamp() * 1e6)
    await _sleep(attempt, f"until {at}", {"until": when.isoformat()}, 0, at)


async def _sleep(attempt: Attempt, what: str, shown: dict[str, object], span: int, at: int | None) -> None:
    attempt.check()
    if attempt.is_mocked:
        return
    await begins(attempt)
    parts, run = await known_parts(attempt), attempt.run
    with registering:
        identity, index = attempt.identify(None, content_digest("~sleep", what.encode())), attempt.children
        attempt.children += 1
    text = msgspec.json.encode(shown).decode()
    found = found_in(attempt, parts, identity, f"~sleep {text}")
    if found is not None and counts(found, run.trial_start):
        async with losing(attempt, identity, found.id, "a sleep"):
            await _found(attempt, found)
        return
    engine = attempt.host.engine()
    began = engine.store.now()
    due = began + span if at is None else at
    record = Record(
        kind_of(attempt, RunKind.SLEEP),
        attempt.new_id() if found is None else found.id,
        identity,
        text,
        RunState.WAITING,
        index,
        began=began,
        again=found is not None,
    )
    if due - began < SHORT:
        await pause(attempt, max(0, due - began) / 1e6)
        record.state, record.output = RunState.COMPLETED, SLEPT
        note(attempt, record)
        return
    record.due_at = due
    attempt.spawned = attempt.cancel_children = True
    collector = one_end()
    collector.due = due
    write(attempt, record, collector)
    async with losing(attempt, identity, record.id, "a sleep"):
        await _slept(attempt, record.id, collector)


async def _found(attempt: Attempt, found: Recorded) -> None:
    if found.state is RunState.WAITING:
        await _slept(attempt, found.id)
    elif found.state is not RunState.COMPLETED:
        raise error_of(Finished(found.state, found.output, found.error, "~sleep"), found.id, "~sleep")


async def _slept(attempt: Attempt, run_id: bytes, collector: Collector | None = None) -> None:
    ended = await awaited(attempt, run_id, "a sleep", collector)
    if ended.state is not RunState.COMPLETED:
        raise error_of(ended, run_id, ended.task)


# --- what is drawn ----------------------------------------------------------------------------------------------------


async def now(attempt: Attempt, name: str | None) -> datetime:
    """See `Context.now`."""
    attempt.check()
    name = _named(attempt, name, "ctx.now")
    if attempt.is_mocked:
        return moment(attempt.host.clock.now())
    parts = await known_parts(attempt)
    with registering:
        identity, index = attempt.identify(None, content_digest("~now", name.encode())), attempt.children
        attempt.children += 1
    found = found_in(attempt, parts, identity, f"~step now {name}")
    if found is not None and found.output is not None:
        return moment(int(found.output))
    began = attempt.host.engine().store.now()
    kind, shown = kind_of(attempt, RunKind.RECORDED), msgspec.json.encode({"now": name}).decode()
    id_ = attempt.new_id()
    # Not waited for: it goes before whatever is written next, and until then nothing depends on it.
    note(attempt, Record(kind, id_, identity, shown, RunState.COMPLETED, index, output=str(began), began=began))
    return moment(began)


def random(attempt: Attempt, name: str | None) -> float:
    """See `Context.random`."""
    return (int.from_bytes(_drawn(attempt, "random", name)[:8], "big") >> 11) / (1 << 53)


def uuid_of(attempt: Attempt, name: str | None) -> uuid.UUID:
    """See `Context.uuid`."""
    return uuid.UUID(bytes=_drawn(attempt, "uuid", name), version=4)


def _drawn(attempt: Attempt, what: str, name: str | None) -> bytes:
    """The next 16 bytes under a name: of the run, and not of the attempt."""
    attempt.check()
    of = f"{what}\0{_named(attempt, name, f'ctx.{what}')}".encode()
    with registering:
        draws = parts_of(attempt).draws
        count = draws[of] = draws.get(of, 0) + 1
    return blake2b(of, digest_size=16, key=attempt.draws, salt=count.to_bytes(16, "big")).digest()


def _named(attempt: Attempt, name: str | None, what: str) -> str:
    if name is None:
        ordered(attempt, what, in_a_step=in_a_step())
        return ""  # no name that is given
    if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise UsageError(
            f"name must be a text that is not empty, and is {checks.shown(name)}: by it a later attempt of the run "
            f"finds the same value again"
        )
    return checks.storable(name, "name", checks.MAX_KEY_LENGTH)
