"""`fanwood runs pause`, `resume`, `reprioritize` and `patch`."""

from __future__ import annotations

import click

from fanwood.cli.arguments import run_ids
from fanwood.cli.base import Command, Common, common
from fanwood.cli.commands.acting import acts
from fanwood.cli.selecting import Wanted


@acts(
    "pause",
    "JSON: {id, status, paused}; of several runs: {runs: [{id, status}], paused}. `paused` counts those that were\n"
    "  not paused before",
    click.option("--by", help="Who wants it, for those who look. Default: you."),
)
def pause(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, by: str | None) -> None:
    """Pause runs and everything below them. Once this returns, nothing of them begins, on any worker.

    What executes goes on; sleeps end, and time limits count. `fanwood runs resume` takes it back.
    """
    from fanwood.cli import surgery

    surgery.pause(common, runs, wanted, yes, by)


@acts(
    "resume",
    "JSON: {id, status, resumed}; of several runs: {runs: [{id, status}], resumed}. `resumed` counts those that\n"
    "  were paused",
)
def resume(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    """Take back the pauses of runs: what waits for that is queued, unless something else pauses it.

    Of a large tree a part is queued then; whichever worker or client there is does the rest.
    """
    from fanwood.cli import surgery

    surgery.resume(common, runs, wanted, yes)


@acts(
    "reprioritize",
    "JSON: {id, status, reprioritized}; of several runs: {runs: [{id, status}], reprioritized}. `reprioritized`\n"
    "  counts those that had another priority",
    click.option(
        "--priority", type=click.IntRange(-(1 << 31), (1 << 31) - 1), required=True, help="Higher goes first."
    ),
    click.option("--by", help="Who wants it, for those who look. Default: you."),
    example=" --priority 10",
)
def reprioritize(
    common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, priority: int, by: str | None
) -> None:
    """Give runs, and everything below them, another priority; also what is spawned below them later.

    Of a large tree a part hears of it then; whichever worker or client there is does the rest.
    """
    from fanwood.cli import surgery

    surgery.reprioritize(common, runs, wanted, yes, priority, by)


@click.command(
    name="patch",
    cls=Command,
    epilog="Examples:\n  fanwood runs patch 6c466a1c '{\"pages\": 12}'\n  fanwood runs patch 6c466a1c null --by ann\n\n"
    "JSON: {id, status, was}",
)
@click.argument("run", shell_complete=run_ids)
@click.argument("value", metavar="JSON")
@click.option("--by", help="Who wants it, for those who look. Default: you.")
@common
def patch(run: str, value: str, by: str | None, common: Common) -> None:
    """Give a run its output by hand: it has completed then, whatever became of it.

    One that has not ended ends with it, and all below it is cancelled. One that has completed gets another output only
    if its parent has ended. A line in its log keeps who did it, and what was there before. Nothing checks here
    that the output fits what the task returns.
    """
    from fanwood.cli import surgery

    surgery.patch(run, value, by, common)
