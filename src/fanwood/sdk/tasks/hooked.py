"""How an application adds hooks and middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from fanwood.sdk.declaring.hooks import H, Hooks
    from fanwood.sdk.tasks.context import Context

Middleware = Callable[["Context"], "AbstractContextManager[Any, Any] | Iterator[Any]"]
M = TypeVar("M", bound=Middleware)


class Hooked:
    """What `Fanwood` objects have for hooks and middleware; each is a decorator."""

    hooks: Hooks

    def on_failure(self, hook: H) -> H:
        """Call `hook` with a `RunEvent` when a run has failed for good."""
        return self.hooks.add("failure", hook)

    def on_retry(self, hook: H) -> H:
        """Call `hook` with a `RunEvent` when an attempt has failed, and the run is tried again."""
        return self.hooks.add("retry", hook)

    def on_complete(self, hook: H) -> H:
        """Call `hook` with a `RunEvent` when a run has completed."""
        return self.hooks.add("complete", hook)

    def on_cancel(self, hook: H) -> H:
        """Call `hook` with a `RunEvent` when a run was cancelled while it was executing."""
        return self.hooks.add("cancel", hook)

    def middleware(self, around: M) -> M:
        """Surround each attempt's code, sync or async, with what `around(ctx)` gives: a context manager. A generator
        function that yields once will do. What was added first is outermost.

        Raises:
            DeclarationError: it is neither.
        """
        return self.hooks.add_middleware(around)
