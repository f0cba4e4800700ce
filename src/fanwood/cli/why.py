"""`fanwood why`: why a run is where it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from fanwood.cli import looking, output, text
from fanwood.cli.base import Command, Common, common
from fanwood.cli.finding import find, one_run
from fanwood.store.why import Why, explain

if TYPE_CHECKING:
    from fanwood.store.store import Store


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

    async def ask(store: Store) -> Why:
        return explain(await store.circumstances(await find(store, run, common.settings().namespace)))

    why = looking.look(common, ask)
    if common.as_json:
        output.print_json({**asdict(why), "status": why.status.name})
        return
    output.print_line(text.clean(why.text, 2000))
    if why.command is not None:
        output.print_line((f"  {why.command}", "dim"))
