"""`fanwood bench`: the benchmarks of a checkout."""

from __future__ import annotations

import click

from fanwood.cli.base import Command


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
    from fanwood.cli import bench

    bench.measure(args)
