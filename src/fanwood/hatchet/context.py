"""The context, with the members that go by other names there."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from fanwood import checks
from fanwood.clock import MICROSECONDS
from fanwood.sdk.tasks.context import Context as OurContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.durations import Duration


class Context(OurContext):
    """As Fanwood's."""

    __slots__ = ()

    @classmethod
    def of(cls, context: OurContext) -> Context:
        """The same context, as one of these."""
        return cls(context._attempt, context._step)  # noqa: SLF001  (of its base)

    @property
    def retry_count(self) -> int:
        """How many attempts this trial has behind it. It goes on over a replay, which Fanwood's own begins at 0."""
        run = self._attempt.run
        return max(run.retry_count, run.trial_start - 1)

    @property
    def workflow_id(self) -> str:
        """The same as `workflow_name`: what `workflow_ids=` takes."""
        return self.workflow_name

    @property
    def exit_flag(self) -> bool:
        """The same as `is_cancelled`."""
        return self.is_cancelled

    async def aio_log(self, message: object, level: str = "info") -> None:
        """As `log`, which doesn't wait either."""
        self.log(message, level)

    async def aio_release_slot(self) -> None:
        """As `release_slot`, which doesn't wait either."""
        self.release_slot()

    def refresh_timeout(self, increment_by: Duration) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs
        """Allow this attempt so much more time than it has. (Fanwood's own counts from now.) A task without a time-out
        has all the time there is; theirs all have one."""
        more, attempt = checks.seconds(increment_by, "increment_by"), self._attempt
        attempt.check()
        if attempt.limit is not None:
            more += max(0.0, (attempt.limit - attempt.host.engine().store.now()) / MICROSECONDS)
            super().refresh_timeout(more)

    async def aio_refresh_timeout(self, increment_by: Duration) -> None:
        """As `refresh_timeout`, which doesn't wait either."""
        self.refresh_timeout(increment_by)


DurableContext: TypeAlias = Context


def handed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called with one of these contexts. (What it returns is passed on, so coroutines stay ones.)"""

    @functools.wraps(function)
    def call(input_: Any, context: OurContext) -> Any:
        return function(input_, Context.of(context))

    return call
