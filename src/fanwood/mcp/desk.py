"""What the tools of one server share, and what a tool is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import msgspec

from fanwood.cli.finding import find
from fanwood.clock import SystemClock
from fanwood.lens.book import Lenses
from fanwood.server.masking import shown
from fanwood.server.scope import Scoped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.clock import Clock
    from fanwood.lens.lens import Lens
    from fanwood.server.hands import Hands
    from fanwood.server.reader import Reader
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for which a tree is read, or an action waited for."""

Id = Annotated[
    str,
    msgspec.Meta(
        max_length=200,
        description="A run: its id, or as many digits of its end or beginning as are unique; @last or nothing is the "
        "newest root.",
    ),
]
Run = Id | None


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what tools take."""


class NoArguments(Arguments, frozen=True):
    """Nothing."""


class OfRun(Arguments, frozen=True):
    """One run."""

    run: Run = None


@dataclass(slots=True)
class Desk:
    """`payloads`: whether inputs and outputs may be seen."""

    settings: Settings
    reader: Reader
    hands: Hands | None
    payloads: bool
    clock: Clock = field(default_factory=SystemClock)
    lenses: Lenses = field(init=False)
    _scope: Store | None = None

    def __post_init__(self) -> None:
        self.lenses = Lenses(self.clock)

    async def ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        """Ask the store; with a namespace it shows nothing of others."""
        return await self.reader.ask(lambda store: verb(self._seen(store)))

    def _seen(self, store: Store) -> Store:
        """On the reader's thread."""
        if not self.settings.namespace:
            return store
        if self._scope is None:
            self._scope = cast("Store", Scoped(store, self.settings.namespace))
        return self._scope

    async def find(self, store: Store, given: str | None) -> bytes:
        """The run that is meant."""
        return await find(store, given, self.settings.namespace)

    async def root_of(self, store: Store, given: str | None) -> bytes:
        """The root of the tree in which it is."""
        (found,) = await store.briefs([await self.find(store, given)])
        return found.root_id

    async def lens(self, store: Store, root: bytes) -> Lens:
        """That of a tree, which has read all of it, or as much as it could in the time that there is."""
        return await self.lenses.warm(store, root, PATIENCE)

    def shown(self, view: T) -> T:
        """Without what is for nobody's eyes."""
        return shown(view, payloads=self.payloads)


@dataclass(frozen=True, slots=True)
class McpTool:
    """One tool: `answer` makes a text of the desk and the arguments."""

    name: str
    description: str
    arguments: type[Arguments]
    answer: Callable[[Desk, Any], Awaitable[str]]
    changes: bool = False
    destroys: bool = False

    def schema(self) -> dict[str, Any]:
        """Of its arguments."""
        found = msgspec.json.schema(self.arguments)
        schema = found["$defs"][self.arguments.__name__]
        return {word: value for word, value in schema.items() if word not in ("title", "description")}
