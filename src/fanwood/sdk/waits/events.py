"""Events: what has happened, told to whoever waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from fanwood import checks
from fanwood.clock import moment
from fanwood.codec import codec_for
from fanwood.durations import in_microseconds
from fanwood.engine.signals import block
from fanwood.errors import PayloadTooLargeError, RunNotFoundError, StoreError, UsageError
from fanwood.ids import id_text
from fanwood.model.commands import Finished, Record
from fanwood.model.matching import Event as Kept
from fanwood.model.matching import Wanted, fits, mark_of
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.declaring.options import metadata_json
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.listing import microseconds_of
from fanwood.sdk.recording.losing import losing
from fanwood.sdk.recording.once import each_once
from fanwood.sdk.recording.recording import awaited, found_in, kind_of, known_parts, one_end, write, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import GivenUp, counts
from fanwood.sdk.running.waiting import asked, begins, called
from fanwood.sdk.waits.given_up import as_found, kept, take_up
from fanwood.sdk.waits.pushing import AT_ONCE, Pushing
from fanwood.store.outside import EventFilter
from fanwood.store.spreading import checked_expression, finish, is_true

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from fanwood.durations import Duration
    from fanwood.engine.waits import Collector
    from fanwood.model.commands import Ended
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

MOST = 100_000
"""Events that one call gives, at most."""
PATHS = 100
"""Values that one wait compares, at most."""
PAGE = 500


@dataclass(frozen=True, slots=True)
class Event:
    """What has happened."""

    id: str
    key: str
    payload: Any
    scope: str | None
    metadata: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PushEvent:
    """One of the events of `bulk_push`."""

    key: str
    payload: Any = None
    id: str | None = None
    scope: str | None = None
    metadata: dict[str, Any] | None = None


_Said = tuple[str | int, ...]
"""Of an event that was pushed: its id, when it was; and as it is kept its metadata, if those are others than were given
with this push, since it was there before."""


def _said(given: Kept, kept: Kept) -> _Said:
    other = () if kept.metadata == given.metadata else (kept.metadata or "",)
    return (kept.id, kept.at, *other)


def _as_said(given: Kept, said: _Said) -> Kept:
    id_, at, *other = said
    metadata = str(other[0]) or None if other else given.metadata
    return msgspec.structs.replace(given, id=str(id_), at=int(at), metadata=metadata)


class Events:
    """The events of one store. Every method has an `aio_` twin."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pushing = Pushing()

    def push(
        self,
        key: str,
        payload: Any = None,
        scope: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        id: str | None = None,
    ) -> Event:
        """Say that something has happened. Whoever waits for it goes on.

        Args:
            key: what it is, such as "order:paid".
            payload: what is to be said of it; mostly a dict.
            scope: of whom; waits that name one are ended only by events of it.
            metadata: what is kept beside it.
            id: an event that is pushed twice under one id is one event: the first, with its metadata.

        Raises:
            EventConflictError: the id belongs to another event.
        """
        return block(self._push([PushEvent(key, payload, id, scope, metadata)]), "events.push")[0]

    async def aio_push(
        self,
        key: str,
        payload: Any = None,
        scope: str | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        id: str | None = None,
    ) -> Event:
        """As `push`."""
        return (await self._push([PushEvent(key, payload, id, scope, metadata)]))[0]

    def bulk_push(self, events: Iterable[PushEvent]) -> list[Event]:
        """Many events, in this order; up to 1,000 of them all or none."""
        return block(self._push(_all(events)), "events.bulk_push")

    async def aio_bulk_push(self, events: Iterable[PushEvent]) -> list[Event]:
        """As `bulk_push`."""
        return await self._push(_all(events))

    def get(self, event_id: str) -> Event:
        """One event.

        Raises:
            RunNotFoundError: there is none of that id, or it was too old to be kept.
        """
        return block(self._get(event_id), "events.get")

    async def aio_get(self, event_id: str) -> Event:
        """As `get`."""
        return await self._get(event_id)

    def list(
        self,
        key: str | None = None,
        *,
        scope: str | None = None,
        since: datetime | Duration | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> list[Event]:
        """Events, the latest first. `after`: the id of one; only those before it."""
        return block(self._list(key, scope, since, limit, after), "events.list")

    async def aio_list(
        self,
        key: str | None = None,
        *,
        scope: str | None = None,
        since: datetime | Duration | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> list[Event]:
        """As `list`."""
        return await self._list(key, scope, since, limit, after)

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _push(self, events: Sequence[PushEvent]) -> list[Event]:
        host = self._host
        kept = [kept_event(event, host.settings, id_text(host.ids.new_id())) for event in events]

        async def act(keys: Sequence[bytes | None], numbers: Sequence[int]) -> list[_Said]:
            pushed: list[Kept] = []
            for start in range(0, len(numbers), AT_ONCE):
                chosen = numbers[start : start + AT_ONCE]
                page = [_known_as(kept[n], events[n], key) for n, key in zip(chosen, keys[start:], strict=False)]
                pushed += await asked(host.engine(), self._verb(page), changes=True)
            return [_said(kept[n], each) for n, each in zip(numbers, pushed, strict=True)]

        things = [(event.key, f"{event.id}\0".encode() + each.digest) for event, each in zip(events, kept, strict=True)]
        said = await each_once("events.push", things, act, tuple[str | int, ...])
        return [event_of(_as_said(each, answer)) for each, answer in zip(kept, said, strict=True)]

    def _verb(self, events: Sequence[Kept]) -> Callable[[Store], Awaitable[list[Kept]]]:
        async def verb(store: Store) -> list[Kept]:
            return await _finished(store, await self._pushing.push(store, events))

        return verb

    async def _ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        return await asked(self._host.engine(), verb)

    async def _get(self, event_id: str) -> Event:
        return event_of(await self._ask(lambda store: found(store, event_id)))

    async def _list(
        self, key: str | None, scope: str | None, since: datetime | Duration | None, limit: int, after: str | None
    ) -> list[Event]:
        checks.whole(limit, "limit", 0, MOST)
        began = 0 if since is None else microseconds_of(since, self._host.engine().store.now(), "since")
        before = None if after is None else (await self._ask(lambda store: found(store, after))).number
        filter_ = EventFilter(_text(key, "key"), _text(scope, "scope"), began, before, limit)
        return [event_of(each) for each in await self._ask(lambda store: store.events(filter_))]


async def found(store: Store, event_id: str) -> Kept:
    """The event of that id.

    Raises:
        RunNotFoundError: there is none.
    """
    event = await store.event(checks.storable(event_id, "event_id", checks.MAX_KEY_LENGTH))
    if event is None:
        raise RunNotFoundError(f"There is no event {checks.shown(event_id)}, or it was too old to be kept")
    return event


async def push(store: Store, events: Sequence[Kept]) -> list[Kept]:
    """Keep them, and end all waits that they end."""
    return await _finished(store, await store.push(events))


async def _finished(store: Store, pushed: list[Kept]) -> list[Kept]:
    with contextlib.suppress(StoreError):  # they are pushed, and what is left of it a worker does
        for event in pushed:
            if event.open:
                await finish(store, event)
    return pushed


def _all(events: object) -> list[PushEvent]:
    if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
        kind = type(cast("object", events)).__name__
        raise UsageError(f"bulk_push() takes several PushEvents, a list of them for example, not {kind}")
    return list(cast("Iterable[PushEvent]", events))


def kept_event(event: PushEvent, settings: Settings, new_id: str) -> Kept:
    """An event as it is kept, if it can be."""
    if not isinstance(event, PushEvent):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("events", "must be PushEvents", event)
    key = checks.needed_key(event.key, "key", "an event needs one")
    data = codec_for(Any).encode(event.payload, f"the payload of {key}", "payload")
    if len(data) > settings.max_payload_bytes:
        raise PayloadTooLargeError(f"the payload of {key}", len(data), settings.max_payload_bytes)
    metadata = None if event.metadata is None else metadata_json(event.metadata, "metadata")
    id_ = new_id if event.id is None else checks.key(event.id, "id", "and the event gets one")
    if id_ in (".", ".."):
        raise checks.refused("id", "must be another one: there is no URL with that in its path", id_)
    return Kept(id_, key, data.decode(), _text(event.scope, "scope"), metadata)


def _known_as(kept: Kept, given: PushEvent, key: bytes | None) -> Kept:
    """With the id of what a durable run does once, if it has none of its own."""
    return kept if key is None or given.id is not None else msgspec.structs.replace(kept, id=id_text(key))


def event_of(kept: Kept) -> Event:
    """An event as people see it."""
    metadata: dict[str, Any] = msgspec.json.decode(kept.metadata or "{}")
    return Event(kept.id, kept.key, msgspec.json.decode(kept.payload), kept.scope, metadata, moment(kept.at))


def _text(value: str | None, subject: str) -> str | None:
    return None if value is None else checks.key(value, subject, "for any")


# --- in a task --------------------------------------------------------------------------------------------------------


async def wait_for_event(
    attempt: Attempt,
    key: str,
    expression: str | None,
    match: dict[str, Any] | None,
    validator: Any,
    scope: str | None,
    window: Duration | None,
    timeout: Duration | None,
) -> Any:
    """See `Context.wait_for_event`."""
    attempt.check()
    wanted, back = wanted_of(key, expression, match, scope), window_of(attempt, window)
    codec = codec_for(Any if validator is None else validator)
    limit = None if timeout is None else in_microseconds(checks.seconds(timeout, "timeout", zero=True))
    if attempt.is_mocked:
        raise UsageError(f"nothing pushes the event {key} to a mock run")
    ended, id_ = await _ended(attempt, wanted, limit, back)
    if ended.state is not RunState.COMPLETED:
        raise error_of(ended, id_, ended.task)
    return codec.decode(ended.output or "null", f"the payload of {key}")


async def _ended(attempt: Attempt, wanted: Wanted, limit: int | None, back: int | None) -> tuple[Ended, bytes]:
    await begins(attempt)
    text, parts = msgspec.json.encode(wanted).decode(), await known_parts(attempt)
    content = content_digest("~event", mark_of(wanted) + (wanted.expression or "").encode())
    with registering:
        again = take_up(parts, content)
        identity = attempt.identify(None, content) if again is None else again.identity
        index = attempt.children
        attempt.children += 1
    there = found_in(attempt, parts, identity, f"~event {text}") if again is None else as_found(again, attempt)
    waits = there is not None and counts(there, attempt.run.trial_start)
    id_ = attempt.new_id() if there is None else there.id
    collector: Collector | None = None
    wait = GivenUp(index, identity, id_, limit)
    with kept(attempt, parts, content, wait):
        async with losing(attempt, identity, id_, f"the event {wanted.key}"):
            if there is not None and waits and there.state.is_terminal:
                return Finished(there.state, there.output, there.error, "~event"), there.id
            if not waits or (again is not None and again.limit != limit):
                kind, mark = kind_of(attempt, RunKind.EVENT), mark_of(wanted)
                record = Record(kind, id_, identity, text, RunState.WAITING, index, timeout=limit,
                                again=there is not None, awaits=mark)  # fmt: skip
                attempt.spawned = attempt.cancel_children = True
                collector = None if waits else one_end()
                answer = write(attempt, record, collector)
                if back is not None or waits:
                    await written(attempt, answer)
            await look_back(attempt, wanted, id_, back)
            return await awaited(attempt, id_, f"the event {wanted.key}", collector), id_


async def look_back(attempt: Attempt, wanted: Wanted, run_id: bytes, back: int | None) -> Kept | None:
    """It waits by now, so nothing is missed; what came before ends it as well, the latest of it."""
    if back is None:
        return None
    engine = attempt.host.engine()

    async def look(store: Store) -> Kept | None:
        filter_ = EventFilter(wanted.key, wanted.scope, store.now() - back, None, PAGE)
        while page := await store.events(filter_):
            for event in page:
                if fits(event, wanted) and (wanted.expression is None or is_true(wanted.expression, event)):
                    await store.fulfil(event, [run_id])
                    return event
            filter_ = msgspec.structs.replace(filter_, before=page[-1].number)
        return None

    return await called(engine.call(look, changes=True, steadfast=True))


def wanted_of(key: str, expression: str | None, match: dict[str, Any] | None, scope: str | None) -> Wanted:
    """What is waited for, checked.

    Raises:
        UsageError: it can't be.
    """
    key = checks.needed_key(key, "key", "a wait for an event needs one")
    if match is not None and not isinstance(match, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("match", "must be a dict of paths and values", match)
    match = match or {}
    if len(match) > PATHS:
        raise UsageError(f"match must have at most {PATHS} paths, and has {len(match):,}")
    for path in match:
        if not isinstance(path, str) or not path:  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
            raise checks.refused("match", "must have paths such as 'order.id' for keys", path)
        checks.storable(path, "a path of match", checks.MAX_KEY_LENGTH)
    if expression is not None:
        text = checks.storable(expression, "expression", checks.MAX_TEXT_LENGTH)
        checked_expression(text, "input", "metadata", "key", "scope")
    values = msgspec.json.decode(codec_for(Any).encode(match, "match", "match"))
    return Wanted(key, _text(scope, "scope"), values, expression)


def window_of(attempt: Attempt, window: Duration | None) -> int | None:
    """How far to look back, in microseconds.

    Raises:
        UsageError: further than events are kept.
    """
    if window is None:
        return None
    back, kept = checks.seconds(window, "lookback_window", zero=True), attempt.host.settings.event_retention
    if back > kept:
        raise UsageError(
            f"lookback_window is {back:g} s, and events are kept for event_retention, {kept:g} s: what is older is not "
            f"there"
        )
    return in_microseconds(back)
