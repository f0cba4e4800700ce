"""`fanwood mcp`: runs, for the models of agents."""

from __future__ import annotations

import click

from fanwood.cli.base import Command, Common, common


@click.command(
    name="mcp",
    cls=Command,
    epilog="Examples:\n  fanwood mcp\n  fanwood mcp --url postgresql://me@db/shop --payloads\n"
    "  fanwood mcp --allow-write\n\n"
    "JSON: with it or without, stdout carries the protocol and nothing else.",
)
@click.option("--allow-write", is_flag=True, help="Let it also start, cancel and retry runs.")
@click.option("--payloads", is_flag=True, help="Show inputs and outputs as well; what is named as a secret is masked.")
@common
def command(common: Common, allow_write: bool, payloads: bool) -> None:
    """Serve runs to an agent, by the Model Context Protocol over stdin and stdout: it looks, and changes nothing.

    An agent's program starts it. It ends with its stdin.
    """
    from fanwood.cli import mcp

    mcp.serve_mcp(common, allow_write, payloads)
