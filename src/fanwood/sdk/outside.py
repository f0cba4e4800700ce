"""What a running task may wait for that comes from outside: the part of its context that is about that."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fanwood.sdk.promises import aio_promised, promised

if TYPE_CHECKING:
    from fanwood.durations import Duration
    from fanwood.sdk.attempt import Attempt
    from fanwood.sdk.promises import Promise

T = TypeVar("T")


class Outside:
    """Methods of `Context`."""

    __slots__ = ()

    _attempt: Attempt

    def promise(self, type_: type[T], name: str, *, timeout: Duration | None = None) -> Promise[T]:
        """A value that somebody else will say, who is given `promise.token`: by `fanwood.promises.resolve`, on the
        command line, or over HTTP. `await promise`, or `promise.result()`, waits for it. A later attempt that asks for
        it by this name has the same promise, with the same token. It ends with the run.

        Args:
            type_: the value's type; what is not of it is refused.
            name: what it is about. Asked for again in one attempt it is another one.
            timeout: after so long it fails.
        """
        return promised(self._attempt, type_, name, timeout)

    async def aio_promise(self, type_: type[T], name: str, *, timeout: Duration | None = None) -> Promise[T]:
        """As `promise`. It is recorded when this returns; an async task may use `promise` as well, which returns at
        once."""
        return await aio_promised(self._attempt, type_, name, timeout)
