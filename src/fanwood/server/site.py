"""What all requests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.clock import Clock
    from fanwood.server.identity import Identity
    from fanwood.server.limits import Limits
    from fanwood.server.options import Options
    from fanwood.server.reader import Reader
    from fanwood.server.static import Static
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")


@dataclass(slots=True)
class Site:
    """The parts of one server."""

    settings: Settings
    options: Options
    clock: Clock
    reader: Reader
    static: Static
    limits: Limits
    owner_of: Callable[[str], Identity | None]
    """Whose token that is."""

    async def ask(self, identity: Identity, verb: Callable[[Store], Awaitable[T]]) -> T:
        """Ask the store in somebody's name."""
        del identity
        return await self.reader.ask(verb)
