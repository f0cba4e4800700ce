"""`fanwood events`: what has happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common
from fanwood.cli.inputs import read_json, read_metadata
from fanwood.clock import MICROSECONDS
from fanwood.ids import SystemIds, id_text
from fanwood.sdk.waits import events
from fanwood.store.outside import EventFilter

if TYPE_CHECKING:
    from fanwood.model.matching import Event
    from fanwood.store.store import Store

SHOWN = 100
"""Characters of a payload in a list."""


def push(key: str, payload: str, scope: str | None, event_id: str | None, metadata: str | None, common: Common) -> None:
    given = events.PushEvent(key, read_json(payload, "PAYLOAD"), event_id, scope, read_metadata(metadata))
    event = events.kept_event(given, common.settings(), id_text(SystemIds().new_id()))
    (pushed,) = looking.look(common, lambda store: events.push(store, [event]), create=True)
    if common.as_json:
        output.print_json(event_json(pushed))
    else:
        output.print_line(f"Pushed: {text.clean(pushed.key)} {pushed.id}")


def ls(key: str | None, scope: str | None, since: float | None, limit: int, common: Common) -> None:

    async def ask(store: Store) -> list[Event]:
        began = 0 if since is None else store.now() - round(since * MICROSECONDS)
        return await store.events(EventFilter(key, scope, began, None, limit))

    found = looking.look(common, ask)
    if common.as_json:
        output.print_json({"events": [event_json(event) for event in found]})
        return
    for event in found:
        scope_ = "" if event.scope is None else f"  {text.clean(event.scope)}"
        payload = text.clean(event.payload, SHOWN)
        output.print_line(f"{text.instant(event.at)}  {text.clean(event.key)}{scope_}  {event.id}  {payload}")


def get(event_id: str, common: Common) -> None:

    async def ask(store: Store) -> Event:
        return await events.found(store, event_id)

    event = looking.look(common, ask)
    if common.as_json:
        output.print_json(event_json(event))
        return
    for name, value in event_json(event).items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        output.print_line(f"{name:<11} {text.clean(shown, 10_000)}")


def event_json(event: Event) -> dict[str, Any]:
    """An event, for programs."""
    return {
        "id": event.id,
        "key": event.key,
        "payload": msgspec.Raw(event.payload.encode()),
        "scope": event.scope,
        "metadata": msgspec.Raw((event.metadata or "{}").encode()),
        "created_at": text.instant(event.at),
    }
