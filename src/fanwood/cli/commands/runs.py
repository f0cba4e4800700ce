"""`fanwood runs`: list, show, and what is done to runs."""

from __future__ import annotations

import click

from fanwood.cli.arguments import ABOUT, one_run
from fanwood.cli.base import Common, Group, common
from fanwood.cli.commands import acting, forking, listing, surgery


@click.group(cls=Group, name="runs", epilog=f"{ABOUT}\n\nExample:\n  fanwood runs ls --failed --since 1h")
def command() -> None:
    """List, show, cancel, pause, resume, reprioritize, patch, retry, fork, wake and delete runs."""


for _command in (
    listing.command,
    acting.cancel,
    acting.retry,
    acting.wake,
    acting.rm,
    surgery.pause,
    surgery.resume,
    surgery.reprioritize,
    surgery.patch,
    forking.fork,
):
    command.add_command(_command)


@command.command(
    name="get",
    epilog="Examples:\n  fanwood runs get\n  fanwood runs get 6c466a1c\n\n"
    "JSON: what `runs ls --json` has, and input, output, deaths, worker_id, deadline, attempts,\n"
    "  version, started_over, started_over_at, paused: {run_id, by, since} or null,\n"
    "  fork: {how, of, at, changed, by, made_at} or null, forks: [id], kin: {how, id, task, status} or null,\n"
    "  progress: {done, total, message} or null,\n"
    "  children: {task: {state: count}}, logs: [{at, level, attempt, message}] (the last 1,000), logs_left_out",
)
@one_run
@common
def get(run: str | None, common: Common) -> None:
    """Show all of a run: input, output, error, children, and what it logged.

    Without RUN it is the newest root. On a terminal, what is very long is cut.
    """
    common.must_exist()
    from fanwood.cli import runs

    runs.get(run, common)
