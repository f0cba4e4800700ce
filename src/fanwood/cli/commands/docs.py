"""`fanwood docs`: the documentation, from the installed package, without a network."""

from __future__ import annotations

from typing import Any

import click

from fanwood.cli.base import Command


def page_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG001  (click's signature)
    """The pages, for a shell."""
    from fanwood.cli import docs

    return list(docs.pages_named(incomplete))


@click.command(
    name="docs",
    cls=Command,
    epilog="Examples:\n  fanwood docs\n  fanwood docs child-spawning\n  fanwood docs --search idempotency_key\n"
    "  fanwood docs --serve\n\n"
    "JSON: a list of {page, title}; with PAGE {page, title, text}; with --search a list of {page, line, text}.",
)
@click.argument("page", required=False, shell_complete=page_names)
@click.option("--search", metavar="TEXT", help="Show the lines of all pages that hold this.")
@click.option("--serve", is_flag=True, help="Serve them to browsers on this machine, until Ctrl-C.")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="With --serve: where. Default: a free one."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def command(page: str | None, search: str | None, serve: bool, port: int, as_json: bool) -> None:
    """List the pages of the documentation, or show one. PAGE is its name, or the last part of it."""
    from fanwood.cli import docs

    docs.docs(page, search, serve, port, as_json)
