"""`fanwood promises`: settle what runs wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fanwood.cli import looking, output
from fanwood.cli.base import Command, Common, Group, common
from fanwood.cli.inputs import read_json
from fanwood.ids import id_text
from fanwood.sdk.waits import promises

if TYPE_CHECKING:
    from fanwood.store.store import Store


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
    text = promises.encoded(read_json(value, "VALUE"), common.settings().max_payload_bytes)

    async def act(store: Store) -> tuple[bool, bytes]:
        done = await promises.resolve(store, token, text)
        return done, promises.promise_of(await store.secret(), token)

    _say(common, "COMPLETED", "resolved", *looking.look(common, act))


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

    async def act(store: Store) -> tuple[bool, bytes]:
        done = await promises.reject(store, token, reason)
        return done, promises.promise_of(await store.secret(), token)

    _say(common, "FAILED", "rejected", *looking.look(common, act))


def _say(common: Common, status: str, past: str, done: bool, id_: bytes) -> None:
    if common.as_json:
        output.print_json({"id": id_text(id_), "status": status, "settled": done})
    else:
        output.print_line(f"{id_text(id_)} is {past}" + ("" if done else ", as it was before"))
