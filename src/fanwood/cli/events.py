"""`fanwood events`: what has happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.base import Command, Common, Group, common, duration
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


@click.group(
    name="events",
    cls=Group,
    epilog="Examples:\n  fanwood events push order:paid '{\"order_id\": 7}'\n  fanwood events ls --key order:paid",
)
def command() -> None:
    """Push events, for which runs may wait, and look at those that there are."""


@command.command(
    cls=Command,
    epilog="Example:\n  fanwood events push order:paid '{\"order_id\": 7}' --scope 77\n\n"
    "JSON: id, key, payload, scope, metadata, created_at",
)
@click.argument("key")
@click.argument("payload", default="{}", metavar="[PAYLOAD]")
@click.option("--scope", metavar="TEXT", help="Of whom it is; waits that name a scope are ended by events of it only.")
@click.option("--id", "event_id", metavar="TEXT", help="Pushed twice under one id it is one event.")
@click.option("--metadata", metavar="JSON", help="An object that is kept beside it.")
@common
def push(key: str, payload: str, scope: str | None, event_id: str | None, metadata: str | None, common: Common) -> None:
    """Say that something has happened: runs that wait for it go on.

    PAYLOAD is JSON, @FILE, or - for stdin; {} if it is left out.
    """
    given = events.PushEvent(key, read_json(payload, "PAYLOAD"), event_id, scope, read_metadata(metadata))
    event = events.kept_event(given, common.settings(), id_text(SystemIds().new_id()))
    (pushed,) = looking.look(common, lambda store: events.push(store, [event]), create=True)
    if common.as_json:
        output.print_json(event_json(pushed))
    else:
        output.print_line(f"Pushed: {text.clean(pushed.key)} {pushed.id}")


@command.command(
    cls=Command,
    epilog="Example:\n  fanwood events ls --key order:paid --since 1h\n\n"
    "JSON: {events: [{id, key, payload, scope, metadata, created_at}]}",
)
@click.option("--key", metavar="TEXT", help="Only events of this key.")
@click.option("--scope", metavar="TEXT", help="Only events of this scope.")
@click.option("--since", callback=duration, metavar="DURATION", help="So long ago, at most: 90s, 5m, 1h30m.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="At most so many.")
@common
def ls(key: str | None, scope: str | None, since: float | None, limit: int, common: Common) -> None:
    """List events, the latest first."""

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


@command.command(
    cls=Command, epilog="Example:\n  fanwood events get 01a218ec\n\nJSON: id, key, payload, scope, metadata, created_at"
)
@click.argument("event_id", metavar="ID")
@common
def get(event_id: str, common: Common) -> None:
    """Show one event."""

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
