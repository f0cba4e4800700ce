"""`fanwood check`: recorded runs of durable tasks, against the code that there is now."""

from __future__ import annotations

import click

from fanwood.checks import INT32
from fanwood.cli.base import Command


@click.command(
    name="check",
    cls=Command,
    epilog="Examples:\n  fanwood check --against postgresql://me@db/site app:fanwood\n"
    "  fanwood check --against sqlite:///copy.db app:fanwood --limit 10000\n\n"
    "Exit code: 0 all go on as they began, 1 some would ask for something else, 2 it could not be looked at.\n\n"
    "JSON: checked, not_followed, not_here: {task: runs}, others: [{run_id, task_name, status, text}].",
)
@click.argument("target", metavar="MODULE:OBJECT")
@click.option("--against", "url", metavar="URL", required=True, help="The database with the runs.")
@click.option("--limit", type=click.IntRange(1, INT32), default=1000, help="Newest runs of each task. Default: 1,000.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(target: str, url: str, limit: int, as_json: bool) -> None:
    """Check that the durable tasks of MODULE:OBJECT go on with the runs that a database has.

    The code of each is run from the top, is given what is recorded, and goes no further: steps are not executed,
    nothing is spawned, sent or written. Says which runs would ask for something else than is recorded.
    """
    from fanwood.cli import check

    check.check(target, url, limit, as_json)
