"""What all commands share: options, exit codes, and errors as sentences."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import click

from fanwood.checks import seconds
from fanwood.cli.text import clean_block
from fanwood.errors import FanwoodError
from fanwood.settings import Settings


class Exit(IntEnum):
    """What scripts can tell from an exit code."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    WAIT_TIMED_OUT = 4
    INTERRUPTED = 130


class Sentence(click.ClickException):
    """Something went wrong, and one sentence says what."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {clean_block(self.format_message())}", file=file, err=file is None)


class Command(click.Command):
    """A command whose epilog, the example, is shown as it is written."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's)
        _as_written(self.epilog, formatter)


class Group(click.Group):
    """A command with commands below it; turns our errors into sentences and a misspelt command into a question."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (as above)
        _as_written(self.epilog, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FanwoodError as error:
            raise Sentence(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            names = ", ".join(self.list_commands(ctx))
            raise Sentence(f"There is no command {name!r}.{hint} There are: {names}")
        return super().resolve_command(ctx, args)


def _as_written(text: str | None, formatter: click.HelpFormatter) -> None:
    if text:
        formatter.write_paragraph()
        for line in text.splitlines():
            formatter.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Common:
    """The options that every command takes."""

    url: str | None
    as_json: bool

    def settings(self) -> Settings:
        """Settings with this URL; else the environment's; else the defaults."""
        return Settings.load(database_url=self.url)


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--url` and `--json`; it gets them as `common`."""

    @click.option(
        "--url", metavar="URL", help="The database. Default: $FANWOOD_DATABASE_URL, else sqlite:///.fanwood/fanwood.db."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @functools.wraps(function)
    def with_common(*args: Any, url: str | None, as_json: bool, **options: Any) -> Any:
        return function(*args, common=Common(url, as_json), **options)

    return with_common


def duration(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """The callback of an option that is seconds, or text such as 90s, 5m, 1h30m."""
    if value is None:
        return None
    try:
        return seconds(_number(value), f"--{parameter.name}")
    except FanwoodError as error:
        raise Sentence(str(error)) from None


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value
