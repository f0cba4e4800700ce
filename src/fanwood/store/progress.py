"""How far a run says that it is: one line among those that it logged, before all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.model.commands import PROGRESS

if TYPE_CHECKING:
    from fanwood.store.store import Store

_BEFORE_ALL = -2


class Progress(msgspec.Struct, frozen=True):
    """How far a run is, as its task said last with `ctx.progress`."""

    done: int | float
    total: int | float | None = None
    message: str = ""


async def progress_of(store: Store, run_id: bytes) -> Progress | None:
    """What a run said last; None if it has said nothing."""
    said = await store.logs(run_id, _BEFORE_ALL, 1)
    return msgspec.json.decode(said[0].message, type=Progress) if said and said[0].level == PROGRESS else None
