"""The entry point. Each command's module is imported when that command is asked for, so that help is quick."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from fanwood.cli.base import OF_OUTPUT, Exit, Group
from fanwood.cli.signs import ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("fanwood.cli.commands.demo", "Count a folder's lines, words and bytes as a tree of tasks."),
    "worker": ("fanwood.cli.commands.worker", "Execute runs: fanwood worker module:object."),
    "run": ("fanwood.cli.commands.run", "Run a task and print its output."),
    "runs": ("fanwood.cli.commands.runs", "List, show, cancel, retry and delete runs."),
    "promises": ("fanwood.cli.commands.promises", "Settle promises that runs wait for."),
    "events": ("fanwood.cli.commands.events", "Push events, and look at those that there are."),
    "tree": ("fanwood.cli.commands.tree", "Show a run and everything below it."),
    "why": ("fanwood.cli.commands.why", "Say why a run is where it is, and what helps."),
    "top": ("fanwood.cli.commands.top", "Show what is under way, and who works on it, live."),
    "ui": ("fanwood.cli.commands.ui", "Serve the dashboard: all of it in a browser."),
    "token": ("fanwood.cli.commands.token", "Let somebody else look at the dashboard."),
    "mcp": ("fanwood.cli.commands.mcp", "Let an agent look at runs: the Model Context Protocol."),
    "logs": ("fanwood.cli.commands.logs", "Show what a run logged, and follow it."),
    "db": ("fanwood.cli.commands.db", "Migrate a database, delete old runs, copy it to another."),
    "doctor": ("fanwood.cli.commands.doctor", "Check the database and who works on it."),
    "check": ("fanwood.cli.commands.check", "Check durable tasks against the runs that a database has."),
    "docs": ("fanwood.cli.commands.docs", "Read the documentation, offline."),
    "bench": ("fanwood.cli.commands.bench", "Measure this machine (in a checkout)."),
}
"""By name: the module whose `command` it is, and one line about it."""


class _Commands(Group):
    """The commands, imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (as above)
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (as above)
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"fanwood {sys.modules['fanwood'].__version__}")
        ctx.exit()


@click.group(
    cls=_Commands,
    epilog="Examples:\n  fanwood demo .\n  fanwood worker app:fanwood\n  fanwood tree 6c466a1c",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version", "-V", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Say which."
)
def cli() -> None:
    """Durable task trees: run them, watch them, look after them."""


def main() -> None:
    try:
        _main()
    except KeyboardInterrupt:  # while the last of it was said
        sys.exit(Exit.INTERRUPTED)
    finally:
        with suppress(ValueError):  # not the main thread, which alone is interrupted
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is said: Ctrl-C ends what the interpreter still does


def _open_what_is_closed() -> None:
    """Where stdin, stdout or stderr is closed (`>&-`), what is opened next would have its number: a database, say."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        with suppress(OSError):
            os.fstat(number)
            continue
        os.dup2(nothing := os.open(os.devnull, os.O_RDWR), number)
        if nothing != number:
            os.close(nothing)
        setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _main() -> None:
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)  # a name that the terminal can't show is no reason to fail
    try:
        try:
            cli(prog_name="fanwood")
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in OF_OUTPUT:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it would fail at the exit
        click.echo(f"error: the output can't be written: {error.strerror}", err=True)
        sys.exit(Exit.USAGE)
