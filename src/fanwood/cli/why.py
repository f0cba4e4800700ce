"""`fanwood why`: why a run is where it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common
from fanwood.cli.finding import find
from fanwood.store.why import Why
from fanwood.store.why_asked import why_of

if TYPE_CHECKING:
    from fanwood.store.store import Store


def why(run: str | None, common: Common) -> None:

    async def ask(store: Store) -> Why:
        return await why_of(store, await find(store, run, common.settings().namespace))

    why = looking.look(common, ask)
    if common.as_json:
        output.print_json({**asdict(why), "status": why.status.name})
        return
    output.print_line(text.clean(why.text, 2000))
    if why.command is not None:
        output.print_line((f"  {text.clean_block(why.command)}", "dim"))
