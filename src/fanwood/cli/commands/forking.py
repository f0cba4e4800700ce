"""`fanwood runs fork`."""

from __future__ import annotations

import click

from fanwood.cli.base import Common
from fanwood.cli.commands.acting import acts
from fanwood.cli.selecting import Wanted


@acts(
    "fork",
    "JSON: {id, status, of, at}; of several runs: {runs: [{id, status, of, at}]}",
    click.option("--at", metavar="RUN", help="A run (or step) below: done again, with what was asked for after it."),
    click.option(
        "--input", "given", metavar="JSON", help="Another input: of that one, or else of the new run. @file, - ."
    ),
    click.option(
        "--budget", metavar="NAME=AMOUNT", multiple=True,
        help="What the new run, and all below it, may use: runs=100, depth=3, seconds=5m, usd=5. May be repeated.",
    ),
    click.option("--by", help="Who wants it, for those who look. Default: you."),
)  # fmt: skip
def fork(
    common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool,
    at: str | None, given: str | None, budget: tuple[str, ...], by: str | None,
) -> None:  # fmt: skip
    """Make new runs of some that have ended: each takes what that had finished, and runs the rest.

    They are roots with trees of their own. What had finished is copied when it is asked for, so this takes no longer
    for a large tree. Nothing checks here that an input fits what the task takes.
    """
    from fanwood.cli import forking

    forking.fork(common, runs, wanted, yes, at, given, budget, by)
