"""`fanwood why`: why a run is where it is."""

from __future__ import annotations

import click

from fanwood.cli.arguments import one_run
from fanwood.cli.base import Command, Common, common


@click.command(
    name="why",
    cls=Command,
    epilog="Examples:\n  fanwood why\n  fanwood why 6c466a1c\n\n"
    "JSON: run_id, task_name, status, cause, text, command, facts (times are microseconds). Causes: completed,\n"
    "  failed, cancelled, budget_empty, deleting, closing, delayed, sleeping, waiting, no_worker, suspect,\n"
    "  slots_busy, starting, paused, waiting_for_children, suspended, lost, executing.",
)
@one_run
@common
def command(run: str | None, common: Common) -> None:
    """Say why a run is where it is: what it waits for, or what became of it. Without RUN it is the newest root."""
    common.must_exist()
    from fanwood.cli import why

    why.why(run, common)
