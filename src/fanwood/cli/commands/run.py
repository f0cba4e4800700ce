"""`fanwood run`: one run, from its input to its output."""

from __future__ import annotations

from typing import Any

import click

from fanwood.cli.arguments import task_names
from fanwood.cli.base import Command, Common, common, duration


@click.command(
    name="run",
    cls=Command,
    epilog="Examples:\n  fanwood run parent --input '{\"n\": 100}' --app app:fanwood --watch\n"
    "  fanwood run parent --input @input.json --no-wait\n  cat input.json | fanwood run parent --input -\n"
    "  fanwood run parent --budget runs=100 --budget usd=5\n\n"
    "Exit code: 0 completed, 1 failed, 2 not started, 3 cancelled, 4 --timeout ran out.\n\n"
    "JSON: what `runs get --json` has, without children and logs.",
)
@click.argument("task", shell_complete=task_names)
@click.option("--input", "input_", metavar="JSON", default="{}", help="The input: JSON, @file, or - for stdin.")
@click.option("--watch", is_flag=True, help="Show how its tree grows.")
@click.option("--app", "target", metavar="MODULE:OBJECT", help="Where the task is declared: check and run it here.")
@click.option("--no-wait", is_flag=True, help="Print the run's id, and don't wait for it.")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--idempotency-key", metavar="KEY", help="Run it once: who gives the key again gets the run that has it.")
@click.option("--metadata", metavar="JSON", help="An object that the run and what is below it carry.")
@click.option(
    "--budget",
    metavar="NAME=AMOUNT",
    multiple=True,
    help="What it and all below it may use: runs=100, depth=5, seconds=10m, or a unit (usd=5). More than once.",
)
@click.option("--timeout", callback=duration, help="How long to wait (30s, 5m); the run itself goes on.")
@common
def command(task: str, common: Common, **options: Any) -> None:
    """Run TASK and print its output.

    Without --app the task is one that a worker has served on this database, and a worker executes it. With --app
    the input is checked against the code, and the run is executed here unless a live worker serves it.
    """
    from fanwood.cli import run

    run.run(task, common, **options)
