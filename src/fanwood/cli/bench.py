"""`fanwood bench`: the benchmarks of a checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from fanwood.cli.base import Command, Sentence


@click.command(
    name="bench",
    cls=Command,
    context_settings={"ignore_unknown_options": True},
    epilog="Example:\n  fanwood bench -- --help\n\nThe benchmarks' own options, --json among them, follow `--`.",
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(args: tuple[str, ...]) -> None:
    """Measure spawning, waiting and starting on this machine, beside the raw speed of the database.

    The benchmarks are not part of the installed package: this works in a checkout. ARGS are passed on to them.
    """
    folder = _checkout()
    if folder is None:
        raise Sentence(
            f"There are no benchmarks in {Path.cwd()}: they come with the source, not with the installed package. "
            f"Run this in a checkout of Fanwood."
        )
    sys.path.insert(0, str(folder))
    raise SystemExit(importlib.import_module("benchmarks.__main__").main(list(args)))


def _checkout() -> Path | None:
    """A folder with benchmarks of ours: this one, or the one that the package's source is in."""
    for folder in (Path.cwd(), Path(__file__).parents[3]):
        if (folder / "benchmarks" / "__main__.py").exists() and (folder / "src" / "fanwood").is_dir():
            return folder
    return None
