"""`fanwood demo`: a real job on a real folder, watched while it grows."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, File, common
from fanwood.settings import MAX_PROCESSES


@click.command(
    name="demo",
    cls=Command,
    epilog="Examples:\n  fanwood demo ~/projects\n  fanwood demo --runs 100000 --ui\n\n"
    "Exit code: 0 counted (files that could not be read are reported), 1 the folder itself could not be.\n\n"
    "JSON: {run, path, status, seconds, runs, files, folders, lines, words, bytes, failed, symlinks, skipped,\n"
    "  duplicates: [{hash, bytes, count, paths}], slowest: [{path, seconds}], failures: [{path, error}],\n"
    "  error: text | null}\n"
    "  With --runs: {run, status, seconds, runs, completed, failed, cancelled, failures: [{type, count, example}]}",
)
@click.argument("path", default=".", type=File())
@click.option(
    "--runs", metavar="N", type=int, help="Instead: a tree of N runs with stragglers, retries, failures, recursion."
)
@click.option(
    "--ui", is_flag=True, help="In a terminal: with the dashboard beside it, and a link to the tree; until Ctrl-C."
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(0, MAX_PROCESSES),
    default=0,
    envvar="FANWOOD_PROCESSES",
    help="Worker processes; 1: none but this one. Default: one for each core.",
)
@common
def command(path: str, runs: int | None, ui: bool, processes: int, common: Common) -> None:
    """Count lines, words and bytes below PATH: a task per folder, a task per file, duplicates found by hash.

    Symlinks are not followed. Folders named .git, .venv, node_modules, __pycache__ and .fanwood are left out.
    """
    from fanwood.cli import demo

    demo.demo(path, runs, ui, processes, common)
