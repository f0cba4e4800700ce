"""Streams of a mock run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.sdk.children.mock_host import MockHost
    from fanwood.sdk.declaring.items import BulkRunItem


class MockedFlow:
    """In a mock run: each result when it is asked for."""

    def __init__(
        self, host: MockHost, inputs: Any, item: Callable[[Any], BulkRunItem[Any, Any]], *, keep_errors: bool
    ) -> None:
        self._host = host
        self._inputs: Any = iter(cast("Any", inputs)) if isinstance(inputs, Iterable) else aiter(inputs)
        self._blocks = isinstance(inputs, Iterable)
        self._item = item
        self._keep_errors = keep_errors

    async def more(self) -> list[Any]:
        """The next result; none at the end."""
        try:
            value = next(self._inputs) if self._blocks else await anext(self._inputs)
        except (StopIteration, StopAsyncIteration):
            return []
        return [await self._host.answer(self._item(value), keep_errors=self._keep_errors)]

    async def close(self) -> None:
        """Nothing is under way."""
