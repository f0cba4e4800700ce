"""What comes to runs from outside: the verbs by which a wait ends that no clock ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanwood.model.records import Settled
    from fanwood.model.states import RunState


class Outside(ABC):
    """The verbs. Each that changes something is one transaction."""

    @abstractmethod
    async def secret(self) -> str:
        """What tokens of promises are made with: another one in each store."""

    @abstractmethod
    async def take_secret(self, secret: str) -> None:
        """Go by another store's secret from now on: what it holds was copied from there."""

    @abstractmethod
    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        """End a promise (COMPLETED or FAILED), unless it has ended, or ends with its parent. What it is then.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is no promise.
        """
