"""`fanwood token`: let somebody else look at the dashboard."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fanwood.cli import output
from fanwood.cli.base import Command, File, Sentence, duration
from fanwood.clock import MICROSECONDS, SystemClock

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
    import msgspec

    from fanwood.checks import MAX_NAMESPACE_LENGTH
    from fanwood.checks import name as checked
    from fanwood.ids import new_secret
    from fanwood.server.identity import PREFIX, Token, digest

    name = checked(name, "NAME")
    namespace = namespace and checked(namespace, "--namespace", longest=MAX_NAMESPACE_LENGTH)
    secret = PREFIX + new_secret()
    expires = SystemClock().now() + round(lasts * MICROSECONDS)
    line = msgspec.json.encode(Token(name, digest(secret), role, namespace, expires)) + b"\n"
    try:
        number = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as file:
            file.write(line)
    except OSError as error:
        raise Sentence(f"{path} can't be written to: {error.strerror}") from None
    if as_json:
        about = {"name": name, "role": role, "namespace": namespace, "expires": expires, "token": secret}
        output.print_json(about)
    else:
        output.print_line(secret)
        output.note(f"To take it back, remove the line of {name} from {path}.")
