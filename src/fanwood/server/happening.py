"""The routes of events: for programs that have no Python, and for who looks. Events belong to no namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.lens.views import View
from fanwood.sdk.running.waiting import called
from fanwood.sdk.waits import events
from fanwood.server.answers import PayloadPart
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.masking import masked_json
from fanwood.server.problems import Refusal
from fanwood.server.queries import Moment, PayloadQuery, Query, Text
from fanwood.server.reading import part_of
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
PREVIEW = 200
"""Characters of a payload that tell one event from others in a list."""


class EventView(View, frozen=True):
    """What has happened. `payload` and `metadata` only for who may see payloads, without their secrets; `preview`, how
    the payload begins, in its place where events are asked for in brief. `was_there`: what was pushed by itself had
    been pushed before, under its id."""

    id: str
    key: str
    created_at: int
    scope: str | None = None
    payload: Any = None
    metadata: Any = None
    preview: str = ""
    was_there: bool = False


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


class EventQuery(Query, frozen=True):
    """`brief`: how its payload begins, in place of the payload."""

    brief: bool = False


class EventsQuery(Query, frozen=True):
    """Which events. `after`: the id of one; those before it. `brief`: how their payloads begin, in place of these."""

    key: Text | None = None
    scope: Text | None = None
    since: Moment = 0
    brief: bool = False
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

    async def act(deeds: Deeds) -> tuple[bool, list[Event]]:
        app = deeds.app
        kept = [events.kept_event(each, app.settings, id_text(app.ids.new_id())) for each in given]

        async def push(store: Store) -> tuple[bool, list[Event]]:
            only = given[0].id if len(given) == 1 else None
            was_there = only is not None and await store.event(only) is not None
            return was_there, await events.push(store, kept)

        return await called(app.engine().call(push, changes=True))

    was_there, pushed = await call.site.hands.do(act)
    return [_view(call, event, was_there=was_there) for event in pushed]


async def listed(call: Call) -> list[EventView]:
    """List events, the latest first: fewer than were asked for, if they are large."""
    query: EventsQuery = call.query
    before = None if query.after is None else (await _found(call, query.after)).number
    found = await call.site.reader.ask(lambda store: _page(store, query, before))
    return [_view(call, event, brief=query.brief) for event in found]


async def _page(store: Store, query: EventsQuery, before: int | None) -> list[Event]:
    """A few at a time, as each may be large."""
    found: list[Event] = []
    size = 0
    while len(found) < query.limit and size < ANSWER:
        some = await store.events(
            EventFilter(query.key, query.scope, query.since, before, min(AT_ONCE, query.limit - len(found)))
        )
        found += [_in_brief(event) for event in some] if query.brief else some
        size += 0 if query.brief else sum(len(event.payload) for event in some)
        if len(some) < AT_ONCE:
            break
        before = some[-1].number
    return found


async def one(call: Call) -> EventView:
    """Show one event."""
    query: EventQuery = call.query
    event = await _found(call, call.path["id"])
    return _view(call, _in_brief(event) if query.brief else event, brief=query.brief)


async def event_payload(call: Call) -> PayloadPart:
    """Some of what was said of an event: of its payload, or its metadata."""
    query: PayloadQuery = call.query
    what = call.path["what"]
    if not call.sees_payloads:
        raise Refusal(403, "payloads_hidden", "Payloads are not shown here")
    if what not in ("payload", "metadata"):
        raise Refusal(404, "no_such_route", "There is nothing at this URL")
    event = await _found(call, call.path["id"])
    return part_of(event.payload if what == "payload" else event.metadata, query.offset)


async def _found(call: Call, event_id: str) -> Event:
    try:
        return await call.site.reader.ask(lambda store: events.found(store, event_id))
    except RunNotFoundError:  # they belong to no namespace: nothing is told by this
        raise Refusal(404, "event_not_found", "There is no such event, or it was too old to be kept") from None


def _in_brief(event: Event) -> Event:
    return msgspec.structs.replace(event, payload=event.payload[:PREVIEW])


def _view(call: Call, event: Event, *, brief: bool = False, was_there: bool = False) -> EventView:
    view = EventView(event.id, event.key, event.at, event.scope, was_there=was_there)
    if not call.sees_payloads:
        return view
    metadata = _told(masked_json(event.metadata or "null"))
    if brief:
        return msgspec.structs.replace(view, metadata=metadata, preview=event.payload)  # (masked with every answer)
    return msgspec.structs.replace(view, metadata=metadata, payload=_told(masked_json(event.payload)))


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
    Route("GET", f"{API}/events/{{id:path}}", Role.VIEWER, one, EventView, EventQuery, whole=True),
    Route(
        "GET",
        f"{API}/event-payloads/{{what}}/{{id:path}}",
        Role.VIEWER,
        event_payload,
        PayloadPart,
        PayloadQuery,
        whole=True,
    ),
)
