"""Whether the sums of pieces are what a count of the whole tree says: of trees in which all has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import short_text
from fanwood.lens.lens import Lens
from fanwood.model.records import RunFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.clock import Clock
    from fanwood.model.records import TaskCount
    from fanwood.store.store import Store

TREES = 20
"""The newest ones."""
LOOKS = 10_000
"""At one tree, at most: somebody may change it again and again."""


async def recount(store: Store, clock: Clock) -> list[str]:
    """What differs."""
    found: list[str] = []
    for root in (await store.listing(RunFilter(limit=TREES))).runs:
        lens, looks = Lens(root.id, clock), 0
        while root.state.is_terminal and not lens.is_final and looks < LOOKS:
            await lens.refresh(store)
            looks += 1
            if lens.done == 1 and not lens.is_over:
                break
        if lens.is_final:
            found += [f"tree {short_text(root.id)}: {text}" for text in await _differences(store, lens)]
    return found


async def _differences(store: Store, lens: Lens) -> list[str]:
    counted, summed = _numbers(await store.tree_counts(lens.root)), _numbers(lens.counts())
    return [
        f"{counted.get(key, 0):,} runs of {key[0]} are {key[1]}, and by its pieces {summed.get(key, 0):,}"
        for key in sorted(counted.keys() | summed.keys())
        if counted.get(key, 0) != summed.get(key, 0)
    ]


def _numbers(counts: Iterable[TaskCount]) -> dict[tuple[str, str], int]:
    return {(each.task, each.state.name): each.count for each in counts}
