"""Why a run is where it is, asked of a store; of one that waits for what stands among its children (an event, a
promise, a sleep) also why that has not come."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.ids import short_text
from fanwood.model.states import WAIT_NAMES, RunState
from fanwood.store.why import Why, WhyCause, explain

if TYPE_CHECKING:
    from fanwood.store.store import Store

WAITS = frozenset(WAIT_NAMES.values())


async def why_of(store: Store, id_: bytes) -> Why:
    """In words.

    Raises:
        RunNotFoundError: there is no such run.
    """
    about = await store.circumstances(id_)
    said, oldest = explain(about), about.oldest
    if said.cause not in (WhyCause.SUSPENDED, WhyCause.WAITING_FOR_CHILDREN) or oldest is None:
        return said
    if oldest.task not in WAITS or about.shared is not None:
        return said
    with contextlib.suppress(RunNotFoundError):  # it was deleted meanwhile
        wait = explain(await store.circumstances(oldest.id))
        if wait.status is RunState.WAITING:
            what = wait.text.partition(f" is {wait.status.name}: ")[2]
            text = f"{said.text} {oldest.task} {short_text(oldest.id)}: {what}"
            return replace(said, text=text, command=wait.command or said.command)
    return said
