"""The lenses of a process: one for each tree that somebody looks at."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from fanwood.lens.lens import Lens

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.store.store import Store

MEMORY = 64 << 20
"""Bytes that they may take together, or about that."""


class Lenses:
    """They are kept while there is room: those that were asked for last."""

    def __init__(self, clock: Clock, memory: int = MEMORY) -> None:
        self._clock = clock
        self._memory = memory
        self._lenses: OrderedDict[bytes, Lens] = OrderedDict()
        self._made = 0

    def __len__(self) -> int:
        return len(self._lenses)

    async def tree(self, store: Store, root_id: bytes) -> Lens:
        """That of a tree. A new one has taken its first step.

        Raises:
            RunNotFoundError: there is no such run.
        """
        lens = self._lenses.get(root_id)
        if lens is None:
            self._made += 1
            lens = Lens(root_id, self._clock, f"{store.now():x}{self._made:x}")
            await lens.refresh(store)
            self._lenses[root_id] = lens
        self._lenses.move_to_end(root_id)
        while len(self._lenses) > 1 and sum(one.size for one in self._lenses.values()) > self._memory:
            self._lenses.popitem(last=False)
        return lens

    def forget(self, root_id: bytes) -> None:
        """It is gone."""
        self._lenses.pop(root_id, None)
