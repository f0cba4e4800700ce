"""Where output goes: to a person's terminal, or through a pipe.

On a terminal: aligned tables, colour. In a pipe: lines with tabs between their fields, no colour, nothing cut off.
What is asked for goes to stdout; everything said about it goes to stderr.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fanwood.cli.text import clean_block
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Cell = str | tuple[str, str]
"""Text, or text and its style."""

STYLES = {
    RunState.QUEUED: "yellow",
    RunState.RUNNING: "cyan",
    RunState.WAITING: "blue",
    RunState.COMPLETED: "green",
    RunState.FAILED: "bold red",
    RunState.CANCELLED: "magenta",
}


class Marks(NamedTuple):
    """Signs that are no letters, as the terminal can show them."""

    states: dict[RunState, str]
    branch: str
    last_branch: str
    line: str
    error: str
    full: str
    empty: str


_FINE = Marks(dict(zip(RunState, "·▶◷✓✗⊘", strict=True)), "├─ ", "└─ ", "│  ", "╰ ", "━", "─")
_ASCII = Marks(dict(zip(RunState, ".>~+x-", strict=True)), "|- ", "`- ", "|  ", "` ", "#", "-")


def marks() -> Marks:
    """Those that stdout can show."""
    return marks_for(sys.stdout.encoding or "ascii")


def marks_for(encoding: str) -> Marks:
    """In ASCII where an encoding has no others."""
    try:
        "".join((*_FINE.states.values(), *_FINE[1:])).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _ASCII
    return _FINE


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    right: bool = False
    fixed: bool = False  # never narrowed, however small the terminal


def on_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def can_ask() -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def width() -> int:
    """How many columns the terminal has."""
    return console().width


def state_cell(state: RunState) -> Cell:
    return state.name, STYLES[state]


def plain(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def rich_text(*cells: Cell) -> Text:
    from rich.text import Text

    text = Text()
    for cell in cells:
        if isinstance(cell, str):
            text.append(cell)
        else:
            text.append(cell[0], style=cell[1])
    return text


def plain_table(title: str = "") -> Table:
    """A table without lines, to which columns are to be added."""
    from rich.table import Table

    return Table(
        box=None,
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
        title=title or None,
        title_justify="left",
        title_style="bold",
    )


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], title: str = "") -> None:
    """A table with a line for each row; every cell is in one line and clean already."""
    if on_terminal():
        table = plain_table(title)
        for column in columns:
            justify = "right" if column.right else "left"
            table.add_column(column.name, justify=justify, no_wrap=column.fixed, overflow="fold")
        for row in rows:
            table.add_row(*(rich_text(cell) for cell in row))
        console().print(table)
        return
    click.echo("\t".join(column.name.upper() for column in columns))
    for row in rows:
        click.echo("\t".join(plain(cell) or "-" for cell in row))


def print_line(*cells: Cell) -> None:
    """One line, its styled parts in colour on a terminal."""
    if on_terminal():
        console().print(rich_text(*cells), soft_wrap=True)
    else:
        click.echo("".join(plain(cell) for cell in cells))


def print_json(value: Any) -> None:
    """JSON for programs: one line in a pipe, indented on a terminal."""
    click.echo(json_text(value))


def print_json_line(value: Any) -> None:
    """One of many values, each in a line."""
    import msgspec  # what prints no JSON begins sooner without

    click.echo(msgspec.json.encode(value))


def json_text(value: Any) -> str:
    import msgspec  # as above

    data = msgspec.json.encode(value)
    return clean_block(msgspec.json.format(data, indent=2).decode()) if on_terminal() else data.decode()


_above: list[Console] = []  # a live picture, which must not be written into


def notes_go_to(live: Console | None) -> None:
    """While there is a live picture, notes go above it."""
    _above[:] = [] if live is None else [live]


def note(text: str) -> None:
    """Something about what is going on, on stderr."""
    if _above:
        _above[0].print(clean_block(text), soft_wrap=True, markup=False, highlight=False)
    else:
        click.echo(clean_block(text), err=True)


def warn(text: str) -> None:
    note(f"warning: {text}")


def logged_warnings() -> None:
    """Show what the package logs as sentences, unless the user's module has set up logging. What becomes of runs is
    shown otherwise."""
    logger = logging.getLogger("fanwood")
    if not logger.handlers and not logging.getLogger().handlers:
        logger.addHandler(_Sentences(logging.WARNING))


class _Sentences(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("fanwood.runs"):
            note(f"{record.levelname.lower()}: {record.getMessage()}")


def this_command() -> str:
    """How this program can be called again from here: by its name, if that leads to it, else by its path."""
    called = Path(sys.argv[0])
    if called.name != "fanwood" or shutil.which("fanwood") == str(called.absolute()):
        return "fanwood"
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(called)
