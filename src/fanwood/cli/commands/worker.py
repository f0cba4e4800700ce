"""`fanwood worker`: execute runs until told to stop."""

from __future__ import annotations

import click

from fanwood.checks import INT32
from fanwood.cli.base import Command, Common, common
from fanwood.settings import MAX_PROCESSES

LEVELS = ["debug", "info", "warning", "error"]


@click.command(
    name="worker",
    cls=Command,
    epilog="Examples:\n  fanwood worker app:fanwood\n  fanwood worker app:fanwood --processes 4 --slots 50\n"
    "  fanwood worker app:fanwood --reload\n\n"
    "JSON: the log as lines of {at, level, logger, message, run_id, root_id, attempt, task}, on stderr.",
)
@click.argument("target", metavar="MODULE:OBJECT")
@click.option(
    "--slots", type=click.IntRange(1, INT32), help="Runs that execute at a time. Default: 100; waiting ones are free."
)
@click.option("--threads", type=click.IntRange(1, INT32), help="Sync runs that may wait for children. Default: 1,000.")
@click.option(
    "--processes",
    type=click.IntRange(1, MAX_PROCESSES),
    default=1,
    help="Worker processes; one that dies is replaced.",
)
@click.option("--reload", is_flag=True, help="Start anew when a .py file below this folder changes.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="What is logged. Default: info, but for completed runs; info says those as well.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Default: text.")
@click.option("--ui", is_flag=True, help="Serve the dashboard as well, by a process of its own; see `fanwood ui`.")
@click.option("--supervised", flag_value="alone", hidden=True, help="Stop when stdin ends: the supervisor is gone.")
@click.option("--sibling", "supervised", flag_value="sibling", hidden=True, help="The same, of one of several.")
@common
def command(
    target: str,
    slots: int | None,
    threads: int | None,
    processes: int,
    reload: bool,
    ui: bool,
    supervised: str | None,
    common: Common,
    **log: str | None,
) -> None:
    """Execute runs of the tasks of MODULE:OBJECT, a Fanwood or a Worker; this folder is on the Python path.

    Ctrl-C (or SIGTERM) stops it: what executes may finish for a while, the rest goes back to the queue. A second
    Ctrl-C hands everything back at once.
    """
    from fanwood.cli import worker

    worker.work(target, slots, threads, processes, reload, ui, supervised, common, **log)
