"""`fanwood top`: what is under way, and who works on it, looked at now and then.

It asks for what has not ended only: the newest unfinished roots, what is below these, and who works. So it costs the
same whatever the history; and the larger the trees are, the rarer are the looks."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, common


@click.command(
    name="top",
    cls=Command,
    epilog="Examples:\n  fanwood top\n  fanwood top --once\n\n"
    "JSON: {at, roots: [{id, task, status, created_at, runs: {task: {status: count}}}], more,\n"
    "  workers: [{id, name, host, pid, slots, running, live}], unserved: [task]}",
)
@click.option("--once", is_flag=True, help="Look once, and print that. (In a pipe always.)")
@common
def command(once: bool, common: Common) -> None:
    """Show what is under way, live: unfinished roots and how far they are, their tasks, and who works.

    Ctrl-C leaves it.
    """
    common.must_exist()
    from fanwood.cli import top

    top.top(once, common)
