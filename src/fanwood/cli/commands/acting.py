"""`fanwood runs cancel`, `retry` and `rm`: on runs that are named, or on all that the filters let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fanwood.cli.arguments import run_ids
from fanwood.cli.base import Command, Common, common
from fanwood.cli.selecting import Wanted, filters

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_YES: Decorator = click.option("--yes", is_flag=True, help="Don't ask, whatever the filters let through.")
_FAILURES: Decorator = click.option(
    "--failures", is_flag=True, help="What failed below as well, also where what is above it has completed."
)
_FORCE: Decorator = click.option("--force", is_flag=True, help="Also what completed: its result is replaced.")


def acts(
    name: str, about: str, *options: Decorator, example: str = ""
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that does something to many runs."""
    epilog = (
        f"Examples:\n  fanwood runs {name} 6c466a1c{example}\n  fanwood runs {name} @last{example}\n"
        f"  fanwood runs {name} --task build_report --since 1h{example}\n\n{about}\n"
        "  With filters: {action, done, left}; `action` is the run that does it, and null if there is nothing to do"
    )
    runs: Decorator = click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=run_ids)

    def decorate(function: Callable[..., Any]) -> click.Command:
        function = common(function)
        for option in (*options, _YES, filters, runs):
            function = option(function)
        return click.command(name=name, cls=Command, epilog=epilog)(function)

    return decorate


@acts(
    "cancel",
    "JSON: {id, status, cancelled, more}; `cancelled` counts what has ended so far, `more`: there is more to end. Of\n"
    "  several runs: {runs: [{id, status}], cancelled, more}",
)
def cancel(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    """Cancel runs and everything below them. Once this returns, nothing of them starts any more.

    Of a large tree a part has ended then; whichever worker or client there is ends the rest.
    """
    from fanwood.cli import acting

    acting.cancel(common, runs, wanted, yes)


@acts(
    "retry",
    "JSON: {id, task, status, served}; of several runs: {runs: [{id, task, status}], served}",
    _FORCE,
    _FAILURES,
)
def retry(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, force: bool, failures: bool) -> None:
    """Run again what failed or was cancelled. What completed below it is not redone.

    With --failures also a run that completed, though something below it had failed: all that stands between runs again,
    finds what completed as it was, and asks for the rest once more.
    """
    from fanwood.cli import acting

    acting.retry(common, runs, wanted, yes, force, failures)


@click.command(
    name="wake",
    cls=Command,
    epilog="Example:\n  fanwood runs wake 6c466a1c\n\nThe sleeps of a run are among its children: fanwood tree RUN\n\n"
    "JSON: {id, status, woken}",
)
@click.argument("run", shell_complete=run_ids)
@common
def wake(run: str, common: Common) -> None:
    """End a sleep now: the run that waits for it goes on."""
    from fanwood.cli import acting

    acting.wake(run, common)


@acts("rm", "JSON: {trees, runs, left: [id]}; `left`: trees in which something has not ended, or that were changed")
def rm(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    """Delete trees that have ended: roots, everything below them, and what they logged. They are gone then.

    A tree in which anything has not ended stays. `fanwood db prune` deletes by age.
    """
    from fanwood.cli import acting

    acting.rm(common, runs, wanted, yes)
