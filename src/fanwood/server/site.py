"""What all requests share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from fanwood.server.scope import Scoped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.clock import Clock
    from fanwood.lens.book import Lenses
    from fanwood.lens.lens import Lens
    from fanwood.server.hands import Hands
    from fanwood.server.identity import Identity
    from fanwood.server.limits import Limits
    from fanwood.server.live import Live
    from fanwood.server.options import Options
    from fanwood.server.previews import Previews
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
    primary: Reader
    """The same, unless that one reads a replica: for what must be as it is now."""
    static: Static
    limits: Limits
    owner_of: Callable[[str], Identity | None]
    """Whose token that is."""
    description: Callable[[], bytes]
    """Of the API."""
    trees: Lenses
    live: Live
    hands: Hands
    previews: Previews
    _scopes: dict[tuple[str, str], Store] = field(default_factory=dict[tuple[str, str], "Store"])  # by namespace

    async def ask(self, identity: Identity, verb: Callable[[Store], Awaitable[T]], *, primary: bool = False) -> T:
        """Ask the store in somebody's name."""
        namespace, reader = identity.namespace or self.settings.namespace, self.primary if primary else self.reader
        if not namespace:
            return await reader.ask(verb)
        return await reader.ask(lambda store: verb(self._scope(store, namespace)))

    async def known_lens(self, root: bytes) -> Lens | None:
        """That of a tree, if there is one that has read it."""
        return await self.reader.ask(lambda store: self.trees.known(store, root))

    async def warm_lens(self, root: bytes) -> Lens | None:
        """That of a tree, once it has read it."""
        return await self.reader.ask(lambda store: self.trees.warm(store, root))

    def _scope(self, store: Store, namespace: str) -> Store:
        """On the reader's thread."""
        key = store.url, namespace
        if key not in self._scopes:
            self._scopes[key] = cast("Store", Scoped(store, namespace))
        return self._scopes[key]
