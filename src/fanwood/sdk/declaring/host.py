"""What tasks need of the object that they were declared on, so that this floor needn't know that object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.clock import Clock
    from fanwood.engine.engine import Engine
    from fanwood.ids import IdSource
    from fanwood.sdk.declaring.hooks import Hooks
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.settings import Settings


class Host(Protocol):
    """The `Fanwood` object, as far as tasks know it."""

    settings: Settings
    ids: IdSource
    clock: Clock
    hooks: Hooks

    def engine(self) -> Engine:
        """The engine of this process; started when it is first asked for."""
        ...

    async def prepare(self, tasks: Iterable[str]) -> None:
        """Before roots are spawned: see to it that somebody executes them, if that is our business."""
        ...

    def retire_local(self) -> None:
        """A worker begins in this process: what was executed without one is handed over to it."""
        ...

    def spec(self, name: str) -> TaskSpec | None:
        """The task of that (full) name, if it was declared here."""
        ...
