"""`fanwood runs ls`: the newest runs, and how to go on from there."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, common
from fanwood.cli.selecting import Wanted, filters


@click.command(
    name="ls",
    cls=Command,
    epilog="Examples:\n  fanwood runs ls --failed --since 1h\n"
    "  fanwood runs ls --all --status waiting\n  fanwood runs ls --meta customer=7 --meta 'plan=\"7\"'\n\n"
    "What failed, of all runs (--all --failed), comes in the order of its end.\n\n"
    "JSON: {runs: [{id, task, kind, status, parent_id, root_id, depth, child_key, priority, metadata, attempt,\n"
    "  retry_count, created_at, started_at, finished_at, waits, due_at, seconds, busy_seconds, error: {kind, type,\n"
    "  message, traceback, limit, owner} | null}], after: id | null}; `after` is what --after goes on with",
)
@filters
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--after", metavar="RUN", help="Go on after this run.")
@common
def command(common: Common, wanted: Wanted, limit: int, after: str | None) -> None:
    """List runs, newest first: those that were not spawned by another run (roots), or all."""
    common.must_exist()
    from fanwood.cli import listing

    listing.ls(common, wanted, limit, after)
