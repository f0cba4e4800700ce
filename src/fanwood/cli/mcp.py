"""`fanwood mcp`: runs, for the models of agents."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from importlib.util import find_spec

import click

from fanwood.cli.base import Common, Sentence
from fanwood.clock import SystemClock

INSTALL = "pip install 'fanwood[mcp]'"


def serve_mcp(common: Common, allow_write: bool, payloads: bool) -> None:
    if find_spec("mcp") is None or find_spec("starlette") is None:
        raise Sentence(f"fanwood mcp needs the package mcp: {INSTALL}")
    from fanwood.mcp.serving import serve

    if sys.stdin.isatty():
        click.echo("fanwood mcp: it speaks to the program of an agent, on stdin. Ctrl-C ends it.", err=True)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(common.settings(), SystemClock(), allows_changes=allow_write, payloads=payloads))
