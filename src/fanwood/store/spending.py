"""What the backends do about budgets, beside what `commit` and every end of a run does by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.budgets import Balance, Counted, Refusal, Spend

MOST = 1_000
"""Spends of one transaction."""
SPENDS = 20_000
"""Spends of a tree that are looked at, to see who has spent most."""


class Spending(ABC):
    """The verbs. Each that changes something is one transaction."""

    @abstractmethod
    async def spend(self, spends: Sequence[Spend]) -> list[Refusal | None]:
        """Running attempts spend, reserve, or let go of what they have reserved; of each why it was not done, or None.
        None is ever overdrawn, whoever spends of the same budget at the same time."""

    @abstractmethod
    async def balances(self, run_id: bytes) -> list[Balance]:
        """The limits that hold for a run, of its own budget and of those above it: of each the row that counts."""

    @abstractmethod
    async def spent(
        self, root_id: bytes, run_id: bytes | None = None, limit: int = 1000
    ) -> list[tuple[bytes, str, int]]:
        """What the runs of a tree, or one of them, have spent: run, unit, amount. Of each unit the `limit` largest
        amounts; of a tree its first `SPENDS` spends are looked at."""

    @abstractmethod
    async def counted(self, root_id: bytes | None = None) -> list[Counted]:
        """All limits, of a tree or of all, counted once more; but for trees that are being deleted."""
