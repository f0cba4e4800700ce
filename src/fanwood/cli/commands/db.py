"""`fanwood db`: migrate, prune and copy databases."""

from __future__ import annotations

import click

from fanwood.cli.base import Common, Group, common, duration


@click.group(cls=Group, name="db", epilog="Example:\n  fanwood db prune --older-than 30d --dry-run")
def command() -> None:
    """Migrate a database, delete old runs, copy it to another."""


@command.command(
    name="migrate",
    epilog="Example:\n  fanwood db migrate --dry-run\n\n"
    "JSON: {url, dry_run, steps: [name], workers: [{name, host, pid, kind}]}; workers and clients that were at it",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@common
def migrate(dry_run: bool, common: Common) -> None:
    """Bring the database's schema up to date. Several programs may do it at once.

    Says first who is at work on it. Workers of a PostgreSQL database go on meanwhile, and are replaced afterwards.
    Programs that use a SQLite file should be stopped before; it is also brought up to date by whatever opens it first.
    """
    from fanwood.cli import db

    db.migrate(dry_run, common)


@command.command(
    name="prune",
    epilog="Example:\n  fanwood db prune --older-than 30d\n\n"
    "JSON: {before, runs, trees, dry_run}; trees is null without --dry-run",
)
@click.option(
    "--older-than",
    metavar="TIME",
    callback=duration,
    help="How long ago a tree must have ended: 30d, 12h. Default: the setting retention_days.",
)
@click.option("--batch", metavar="N", type=click.IntRange(1), default=500, show_default=True, help="Runs at a time.")
@click.option("--dry-run", is_flag=True, help="Count what would be deleted, and delete nothing.")
@common
def prune(older_than: float | None, batch: int, dry_run: bool, common: Common) -> None:
    """Delete trees that have ended: every run of them, with what they logged. Of this namespace only.

    Workers may go on meanwhile. A tree in which anything is queued or running stays, however old it is.
    """
    from fanwood.cli import db

    db.prune(older_than, batch, dry_run, common)


@command.command(
    name="copy",
    epilog="Example:\n  fanwood db copy sqlite:///.fanwood/fanwood.db sqlite:////srv/app/fanwood.db\n\n"
    "JSON: {from, to, copied: {task: N, run: N, key: N, log: N}}",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def copy_(source: str, target: str, as_json: bool) -> None:
    """Copy everything from one database, FROM, into another, TO: finished runs and queued ones, logs, keys.

    Both are URLs. Nobody may work on either of them: stop all workers and clients. TO must hold no runs, or be a copy
    that was interrupted. FROM stays as it is, but what lost workers had is queued again.
    """
    from fanwood.cli import db

    db.copy_(source, target, as_json)
