"""`fanwood mcp`: runs, for the models of agents."""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.util import find_spec

import click

from fanwood.cli.base import Command, Common, Exit, Sentence, common
from fanwood.clock import SystemClock

INSTALL = "pip install 'fanwood[mcp]'"


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
    if find_spec("mcp") is None or find_spec("starlette") is None:
        raise Sentence(f"fanwood mcp needs the package mcp: {INSTALL}")
    from fanwood.mcp.serving import serve

    if sys.stdin.isatty():
        click.echo("fanwood mcp: it speaks to the program of an agent, on stdin. Ctrl-C ends it.", err=True)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(common.settings(), SystemClock(), allows_changes=allow_write, payloads=payloads))
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
