"""`fanwood token`: let somebody else look at the dashboard."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, File, duration

DEFAULT = "90d"


@click.command(
    name="token",
    cls=Command,
    epilog="Examples:\n  fanwood token ann --file tokens.jsonl\n"
    "  fanwood token ci --role operator --namespace shop --lasts 365d --file tokens.jsonl\n\n"
    "JSON: {name, role, namespace, expires, token}; times are microseconds.",
)
@click.argument("name")
@click.option(
    "--file",
    "path",
    metavar="FILE",
    type=File(),
    required=True,
    help="Of tokens, for `fanwood ui --tokens`; one line more.",
)
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="viewer",
    show_default=True,
    help="May do what.",
)
@click.option("--namespace", metavar="NAME", default="", help="Sees nothing else. Default: everything.")
@click.option("--lasts", callback=duration, default=DEFAULT, show_default=True, help="How long: 12h, 90d.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def command(name: str, path: str, role: str, namespace: str, lasts: float, as_json: bool) -> None:
    """Make a token for NAME, and enter its hash in a file. The token itself is printed, and kept nowhere."""
    from fanwood.cli import token

    token.token(name, path, role, namespace, lasts, as_json)
