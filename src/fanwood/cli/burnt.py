"""What the budget of a tree has left, and who has burnt what of it, as the command line says it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text, short_text
from fanwood.model.budgets import Balance
from fanwood.store.budgets import amount_text, shown
from fanwood.store.spending import SPENDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.store.store import Store

MOST = 5
"""Runs that have spent most, of each unit."""


class Burnt(msgspec.Struct, frozen=True):
    """Of a run, and of its tree."""

    limits: list[Balance] = []
    spent: list[tuple[bytes, str, int]] = []
    tasks: dict[bytes, str] = {}  # of those who spent
    is_cut: bool = False  # there are more spends than were looked at


async def burnt(store: Store, run_id: bytes, root_id: bytes) -> Burnt:
    """The limits that hold for a run, and who has spent most in its tree."""
    limits, spent = await store.balances(run_id), await store.spent(root_id, None, MOST)
    tasks: dict[bytes, str] = {}
    for spender in {spender for spender, _, _ in spent}:
        with suppress(RunNotFoundError):  # deleted since
            tasks[spender] = (await store.get(spender)).task
    return Burnt(limits, spent, tasks, bool(spent) and await store.spends(root_id, SPENDS + 1) > SPENDS)


def lines(found: Burnt) -> Iterator[str]:
    """For people."""
    for limit in found.limits:
        unit = shown(limit.unit)
        if unit == "depth":
            yield f"budget: down to depth {limit.amount}"
            continue
        used, held, amount = (amount_text(limit.unit, n) for n in (limit.used, limit.held, limit.amount))
        yield f"budget: {used} of {amount} {unit} used{f', {held} held' if limit.held else ''}"
    for run_id, unit, amount in found.spent:
        yield f"spent: {amount_text(unit, amount)} {unit} by {found.tasks.get(run_id, 'a run')} {short_text(run_id)}"
    if found.is_cut:
        yield f"(of the first {SPENDS:,} spends: there are more)"


def as_json(found: Burnt) -> dict[str, Any]:
    """For programs. Amounts are texts, as they are exact."""
    return {
        "budget": [
            {
                "run_id": id_text(limit.run_id), "unit": shown(limit.unit),
                **{name: amount_text(limit.unit, getattr(limit, name)) for name in ("amount", "used", "held")},
            }
            for limit in found.limits
        ],
        "spent": [
            {
                "run_id": id_text(run_id), "task": found.tasks.get(run_id),
                "unit": unit, "amount": amount_text(unit, amount),
            }
            for run_id, unit, amount in found.spent
        ],
        "spent_is_cut": found.is_cut,
    }  # fmt: skip
