"""`fanwood events`: what has happened."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, Group, common, duration


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
    from fanwood.cli import events

    events.push(key, payload, scope, event_id, metadata, common)


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
    from fanwood.cli import events

    events.ls(key, scope, since, limit, common)


@command.command(
    cls=Command, epilog="Example:\n  fanwood events get 01a218ec\n\nJSON: id, key, payload, scope, metadata, created_at"
)
@click.argument("event_id", metavar="ID")
@common
def get(event_id: str, common: Common) -> None:
    """Show one event."""
    from fanwood.cli import events

    events.get(event_id, common)
