"""Budgets as they go over the wire: what is left of each limit, and who has spent most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.lens.views import BudgetView, LimitView, SpentView
from fanwood.model.budgets import DEPTH
from fanwood.store.budgets import amount_text, shown
from fanwood.store.spending import SPENDS

if TYPE_CHECKING:
    from fanwood.model.budgets import Balance
    from fanwood.store.store import Store

MOST = 5
"""Runs that have spent most, of each unit."""


async def budget(store: Store, run_id: bytes, root_id: bytes) -> BudgetView:
    """The limits that hold for a run, and who has spent most in its tree."""
    limits = tuple(_limit(one) for one in await store.balances(run_id))
    found = await store.spent(root_id, None, MOST)
    tasks = {run.id: run.task for run in await store.briefs(list({run_id for run_id, _, _ in found}))}
    spent = tuple(SpentView(id_text(id_), unit, amount_text(unit, n), tasks.get(id_, "")) for id_, unit, n in found)
    return BudgetView(limits, spent, bool(found) and await store.spends(root_id, SPENDS + 1) > SPENDS)


def _limit(one: Balance) -> LimitView:
    unit = one.unit
    if unit == DEPTH:
        return LimitView(id_text(one.run_id), shown(unit), amount_text(unit, one.amount))
    left = max(0, one.amount - one.used - one.held)  # seconds are charged when they are over
    return LimitView(
        id_text(one.run_id), shown(unit), *(amount_text(unit, n) for n in (one.amount, one.used, one.held, left))
    )
