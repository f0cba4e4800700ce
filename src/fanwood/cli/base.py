"""What all commands share: options, exit codes, and errors as sentences."""

from __future__ import annotations

import difflib
import errno
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import click
from click.shell_completion import CompletionItem

from fanwood.checks import has_surrogates, in_short, seconds, shown
from fanwood.cli.text import clean_block
from fanwood.errors import FanwoodError
from fanwood.settings import Settings
from fanwood.store.opening import must_exist


class Exit(IntEnum):
    """What scripts can tell from an exit code."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    WAIT_TIMED_OUT = 4
    INTERRUPTED = 130


OF_OUTPUT = {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG}
"""Numbers of errors that say that the output can't be written."""


class Sentence(click.ClickException):
    """Something went wrong, and one sentence says what."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {in_short(clean_block(self.format_message()))}", file=file, err=file is None)


ALSO_KNOWN = {
    "list": "ls", "ps": "ls", "show": "get", "describe": "get", "delete": "rm", "remove": "rm", "abort": "cancel",
    "kill": "cancel", "replay": "retry", "start": "worker", "serve": "worker", "dev": "worker", "submit": "run",
    "trigger": "run", "status": "doctor", "log": "logs", "dashboard": "ui", "web": "ui",
    "watch": "top", "monitor": "top", "graph": "tree", "completion": "docs cli",
    "help": "--help", "version": "--version",
    "-c": "--slots", "--concurrency": "--slots", "--parallel": "--slots",
    "--workers": "--processes", "--jobs": "--processes",
    "--tail": "--follow", "--state": "--status", "--database": "--url", "--db": "--url", "--name": "--task",
    "--force": "--yes", "--data": "--input", "--payload": "--input", "--metadata": "--meta",
    "--detach": "--no-wait", "--module": "--app",
}  # fmt: skip
"""What other tools call what we have."""


class _Brief(click.Command):
    """Says in short what is wrong with what was given, and nothing of a Ctrl-C while that is looked at."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            error.message = in_short(error.message)  # pyright: ignore[reportAttributeAccessIssue]  # where it is shown from
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(Exit.INTERRUPTED) from None


class Command(_Brief):
    """A command whose epilog, the example, is shown as it is written; knows what others call its options, and takes
    no text that nothing could be done with."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            ours = ALSO_KNOWN.get(error.option_name)
            if ours is None or ours not in self._options():
                raise
            said = f"No such option {error.option_name!r}. Did you mean {ours!r}?"
            raise click.NoSuchOption(error.option_name, said, ctx=ctx) from None
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message or "--input" not in self._options():
                raise
            raise click.UsageError(f"{error.message}. The input is given by --input.", ctx=ctx) from None
        for parameter in self.params:
            given = ctx.params.get(parameter.name or "")
            for text in given if isinstance(given, tuple) else (given,):  # pyright: ignore[reportUnknownVariableType]
                if isinstance(text, str) and not ctx.resilient_parsing:
                    _check_text(parameter, text)
        return rest

    def _options(self) -> set[str]:
        return {name for parameter in self.params for name in parameter.opts}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (click's)
        _as_written(self.epilog, formatter)


class File(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]  # click 8.1 takes none
    """The name of a file or folder, which need not be there: any bytes that one may have."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("it is empty: name a file or a folder.", param, ctx)
        try:
            os.fsencode(value)
        except UnicodeError:
            self.fail(f"{shown(value)} is no name that a file can have.", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  (click's signature)
        return [CompletionItem(incomplete, type="file")]


def _check_text(parameter: click.Parameter, text: str) -> None:
    """A name of a file may be any bytes; all else goes into a database, or is compared with what is there."""
    if "\0" in text or (not isinstance(parameter.type, File) and has_surrogates(text)):
        name = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
        raise Sentence(f"{name} {shown(text)} is not UTF-8 text")


class Group(_Brief, click.Group):
    """A command with commands below it; turns our errors into sentences and a misspelt command into a question."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  (as above)
        _as_written(self.epilog, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name not in ("--url", "--json"):
                raise
            said = f"{error.option_name} stands after the command, such as: fanwood runs ls {error.option_name}"
            raise click.NoSuchOption(error.option_name, said, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FanwoodError as error:
            raise Sentence(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise Sentence(f"{error.filename}: {error.strerror}") from error
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            close = self._elsewhere(ctx, name) or difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            names = ", ".join(self.list_commands(ctx))
            raise Sentence(f"There is no command {name!r}.{hint} There are: {names}")
        return super().resolve_command(ctx, args)

    def _elsewhere(self, ctx: click.Context, name: str) -> list[str]:
        """The command that others call so, or that is called so below another one."""
        name = ALSO_KNOWN.get(name, name)
        if name.startswith("--") or self.get_command(ctx, name.partition(" ")[0]) is not None:
            return [name]
        above = None if ctx.parent is None else ctx.parent.command
        if ctx.parent is not None and isinstance(above, click.Group) and above.get_command(ctx.parent, name):
            return [f"{ctx.parent.command_path} {name}"]
        for group in self.list_commands(ctx):
            below = self.get_command(ctx, group)
            if isinstance(below, click.Group) and name in below.list_commands(ctx):
                return [f"{group} {name}"]
        return []


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

    def must_exist(self) -> None:
        """Raises StoreUnavailableError: there is no such file. (Of a server that is said by the store.)"""
        must_exist(self.settings())


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
        return seconds(_number(value), parameter.opts[0])
    except FanwoodError as error:
        raise Sentence(str(error)) from None


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value
