"""`fanwood promises`: settle what runs wait for."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, Group, common


@click.group(
    name="promises",
    cls=Group,
    epilog="Examples:\n  fanwood promises resolve fwp_AZq0... true\n"
    "  fanwood promises reject fwp_AZq0... --reason 'too dear'",
)
def command() -> None:
    """Say what the promises of runs are, or that there is nothing to be hoped for.

    The token is that which the run handed out (`ctx.promise(...).token`).
    """


@command.command(
    cls=Command,
    epilog="Example:\n  fanwood promises resolve fwp_AZq0... '\"yes\"'\n\n"
    "JSON: {id, status, settled}; `settled`: now, and not with the same value before",
)
@click.argument("token")
@click.argument("value", default="null", metavar="[VALUE]")
@common
def resolve(token: str, value: str, common: Common) -> None:
    """Settle a promise: the run that waits for it goes on with VALUE.

    VALUE is JSON, @FILE, or - for stdin; null if it is left out.
    """
    from fanwood.cli import promises

    promises.resolve(token, value, common)


@command.command(
    cls=Command,
    epilog="Example:\n  fanwood promises reject fwp_AZq0... --reason 'too dear'\n\n"
    "JSON: {id, status, settled}; `settled`: now, and not for the same reason before",
)
@click.argument("token")
@click.option("--reason", default="", metavar="TEXT", help="What the run is told.")
@common
def reject(token: str, reason: str, common: Common) -> None:
    """Settle a promise: in the run that waits for it, an error is raised."""
    from fanwood.cli import promises

    promises.reject(token, reason, common)
