"""The routes of events: for programs that have no Python, and for who looks. Events belong to no namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.lens.views import View
from fanwood.sdk.running.waiting import called
from fanwood.sdk.waits import events
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.masking import masked_json
from fanwood.server.problems import Refusal
from fanwood.server.queries import Query, Text
from fanwood.store.outside import EventFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.matching import Event
    from fanwood.server.deeds import Deeds
    from fanwood.store.store import Store

LARGEST = 16 * 1024 * 1024
"""Bytes of a request; how large a payload may be, the settings say."""
ANSWER, AT_ONCE = 8 * 1024 * 1024, 10
"""Characters of payloads after which a list ends, and events of one look."""


class EventView(View, frozen=True):
    """What has happened. `payload` and `metadata` only for who may see payloads, without their secrets."""

    id: str
    key: str
    created_at: int
    scope: str | None = None
    payload: Any = None
    metadata: Any = None


class EventBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event. `id`: pushed twice under one it is one event."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    payload: Any = None
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None
    scope: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None
    metadata: dict[str, Any] | None = None


class EventsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events, in this order: all of them, or none."""

    events: Annotated[list[EventBody], msgspec.Meta(min_length=1, max_length=1000)]


class EventsQuery(Query, frozen=True):
    """Which events. `after`: the id of one; those before it."""

    key: Text | None = None
    scope: Text | None = None
    after: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


async def push(call: Call) -> EventView:
    """Push an event: runs that wait for it go on."""
    body: EventBody = call.body
    return (await _pushed(call, [body]))[0]


async def bulk_push(call: Call) -> list[EventView]:
    """Push up to 1,000 events: all of them, or none."""
    body: EventsBody = call.body
    return await _pushed(call, body.events)


async def _pushed(call: Call, bodies: Sequence[EventBody]) -> list[EventView]:
    given = [events.PushEvent(body.key, body.payload, body.id, body.scope, body.metadata) for body in bodies]

    async def act(deeds: Deeds) -> list[Event]:
        app = deeds.app
        kept = [events.kept_event(each, app.settings, id_text(app.ids.new_id())) for each in given]
        return await called(app.engine().call(lambda store: events.push(store, kept), changes=True))

    return [_view(call, event) for event in await call.site.hands.do(act)]


async def listed(call: Call) -> list[EventView]:
    """List events, the latest first: fewer than were asked for, if they are large."""
    query: EventsQuery = call.query
    before = None if query.after is None else (await _found(call, query.after)).number
    return [_view(call, event) for event in await call.site.reader.ask(lambda store: _page(store, query, before))]


async def _page(store: Store, query: EventsQuery, before: int | None) -> list[Event]:
    """A few at a time, as each may be large."""
    found: list[Event] = []
    size = 0
    while len(found) < query.limit and size < ANSWER:
        some = await store.events(
            EventFilter(query.key, query.scope, 0, before, min(AT_ONCE, query.limit - len(found)))
        )
        found += some
        size += sum(len(event.payload) for event in some)
        if len(some) < AT_ONCE:
            break
        before = some[-1].number
    return found


async def one(call: Call) -> EventView:
    """Show one event."""
    return _view(call, await _found(call, call.path["id"]))


async def _found(call: Call, event_id: str) -> Event:
    try:
        return await call.site.reader.ask(lambda store: events.found(store, event_id))
    except RunNotFoundError:  # they belong to no namespace: nothing is told by this
        raise Refusal(404, "event_not_found", "There is no such event, or it was too old to be kept") from None


def _view(call: Call, event: Event) -> EventView:
    if not call.sees_payloads:
        return EventView(event.id, event.key, event.at, event.scope)
    payload, metadata = [_told(masked_json(text)) for text in (event.payload, event.metadata or "null")]
    return EventView(event.id, event.key, event.at, event.scope, payload, metadata)


def _told(text: str) -> Any:
    """What is no JSON (somebody has written it by hand) is shown as it stands there."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


ROUTES = (
    Route(
        "POST", f"{API}/events", Role.OPERATOR, push, EventView, body=EventBody, largest=LARGEST, status=201, whole=True
    ),
    Route(
        "POST",
        f"{API}/events/bulk",
        Role.OPERATOR,
        bulk_push,
        list[EventView],
        body=EventsBody,
        largest=LARGEST,
        status=201,
        whole=True,
    ),
    Route("GET", f"{API}/events", Role.VIEWER, listed, list[EventView], EventsQuery, whole=True),
    Route("GET", f"{API}/events/{{id:path}}", Role.VIEWER, one, EventView, whole=True),
)
