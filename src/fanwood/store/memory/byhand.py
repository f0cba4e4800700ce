"""What is done to runs of a memory by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.store.memory.many import MemoryMany
from fanwood.store.memory.patching import MemoryPatching
from fanwood.store.memory.pausing import MemoryPausing
from fanwood.store.memory.prioritizing import MemoryPrioritizing

if TYPE_CHECKING:
    from fanwood.store.memory.tables import Run


class MemoryByHand(MemoryPausing, MemoryPatching, MemoryPrioritizing, MemoryMany):
    """All of it, on a store that has a memory."""

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError
