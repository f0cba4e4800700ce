"""Which version of its code a run began with, for who looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.model.lives import life_of
from fanwood.model.naming import named_in, version_id

if TYPE_CHECKING:
    from fanwood.store.store import Store


async def version_of(store: Store, run_id: bytes, life: str | None) -> str | None:
    """As it is recorded, in the present life of a run; None if it is not."""
    present = life_of(life)
    try:
        part = await store.get(version_id(run_id if present is None else named_in(run_id, present)))
        return msgspec.json.decode(part.output or "null", type=str | None)
    except (RunNotFoundError, msgspec.DecodeError):  # (somebody may have written it by hand)
        return None
