"""How the code of a durable task is unloaded while it waits, as its attempt and its waits see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from weakref import WeakKeyDictionary

    from fanwood.engine.waits import Collector


class Unloads(Protocol):
    """Of one attempt (`sdk/running/unloading.py`)."""

    is_suspending: bool
    tasks: WeakKeyDictionary[asyncio.Task[Any], None]

    def waiting(self, *collectors: Collector, timed: bool) -> AbstractContextManager[None]:
        """While inside, somebody of it waits for Fanwood: for any of these."""
        ...

    def cancel(self) -> None:
        """On the loop: what its code has begun ends, as well as the code itself."""
        ...

    def among(self) -> AbstractContextManager[None]:
        """While inside, this asyncio task waits for others of the same run."""
        ...

    def note(self, timer: asyncio.TimerHandle, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Its code has set a timer."""
        ...

    def limit_over(self) -> int | None:
        """Which limit of its own code has ended the wait of this asyncio task, if one has."""
        ...

    def end_limit(self, number: int) -> None:
        """Let that limit be over."""
        ...

    def end_race(self) -> bool:
        """Let the race be over that this asyncio task has lost against a timer; whether it is in one."""
        ...

    def is_still(self) -> bool:
        """Whether each asyncio task but this one waits for Fanwood, for another of them, or for a time."""
        ...

    async def stands(self, store: Any) -> bool:
        """Whether what they wait for has not come yet."""
        ...

    def last_timer(self) -> float | None:
        """When the last of those comes."""
        ...
