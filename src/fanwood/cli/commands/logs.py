"""`fanwood logs`: what a run logged, and what it logs from now on."""

from __future__ import annotations

import click

from fanwood.cli.arguments import one_run
from fanwood.cli.base import Command, Common, common


@click.command(
    name="logs",
    cls=Command,
    epilog="Examples:\n  fanwood logs\n  fanwood logs 6c466a1c --follow\n\n"
    "JSON: a line {at, level, attempt, message} for each line.",
)
@one_run
@click.option("--follow", "-f", is_flag=True, help="Go on with what is logged from now on, until the run has ended.")
@click.option("--all", "everything", is_flag=True, help="Every line, and not only the last 1,000.")
@common
def command(run: str | None, follow: bool, everything: bool, common: Common) -> None:
    """Show what a run logged with ctx.log, and which attempts failed. Without RUN it is the newest root."""
    common.must_exist()
    from fanwood.cli import logs

    logs.logs(run, follow, everything, common)
