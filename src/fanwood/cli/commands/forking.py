"""`fanwood runs fork`, and what commands say of runs in forks."""

from __future__ import annotations

import click

from fanwood.cli.arguments import run_ids
from fanwood.cli.base import Command, Common, common


@click.command(
    name="fork",
    cls=Command,
    epilog="Examples:\n  fanwood runs fork 6c466a1c\n"
    "  fanwood runs fork 6c466a1c --at 77b1d2a0 --input '{\"pages\": 12}'\n\n"
    "JSON: {id, status, of, at}",
)
@click.argument("run", shell_complete=run_ids)
@click.option("--at", metavar="RUN", help="A run (or step) below, to be done again with what was asked for after it.")
@click.option("--input", "given", metavar="JSON", help="Another input: of that one, or else of the new run. @file, - .")
@click.option(
    "--budget", metavar="NAME=AMOUNT", multiple=True,
    help="What the new run, and all below it, may use: runs=100, depth=3, seconds=5m, usd=5. May be repeated.",
)  # fmt: skip
@click.option("--by", help="Who wants it, for those who look. Default: you.")
@common
def fork(run: str, at: str | None, given: str | None, budget: tuple[str, ...], by: str | None, common: Common) -> None:
    """Make a new run of one that has ended: it takes what that had finished, and runs the rest.

    It is a root with a tree of its own. What had finished is copied when it is asked for, so this takes no longer for
    a large tree. Nothing checks here that the input fits what the task takes.
    """
    from fanwood.cli import forking

    forking.fork(run, at, given, budget, by, common)
