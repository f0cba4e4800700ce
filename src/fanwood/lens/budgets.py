"""Budgets as they go over the wire: what is left of each limit, and who has spent most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.lens.views import LimitView, SpentView
from fanwood.model.budgets import DEPTH
from fanwood.store.budgets import quantity, shown

if TYPE_CHECKING:
    from fanwood.model.budgets import Balance
    from fanwood.store.store import Store

MOST = 5
"""Runs that have spent most."""


async def limits(store: Store, run_id: bytes) -> tuple[LimitView, ...]:
    """Those that hold for a run."""
    return tuple(_limit(one) for one in await store.balances(run_id))


async def spenders(store: Store, root_id: bytes) -> tuple[SpentView, ...]:
    """Who has spent most in a tree."""
    found = await store.spent(root_id, None, MOST)
    return tuple(SpentView(id_text(run_id), unit, _text(unit, amount)) for run_id, unit, amount in found)


def _limit(one: Balance) -> LimitView:
    unit = one.unit
    if unit == DEPTH:
        return LimitView(id_text(one.run_id), shown(unit), _text(unit, one.amount))
    left = max(0, one.amount - one.used - one.held)  # seconds are charged when they are over
    return LimitView(
        id_text(one.run_id), shown(unit), *(_text(unit, n) for n in (one.amount, one.used, one.held, left))
    )


def _text(unit: str, amount: int) -> str:
    return format(quantity(unit, amount), "f" if unit not in ("~runs", "~depth") else "d")
