"""Whether the store can be written to, as far as this engine knows; and saying so, once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.errors import StoreError

logger = logging.getLogger("fanwood.engine")


class Health:
    """Of one engine's store, on its loop. `now` is the store's clock."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._trouble: str | None = None
        self.unsettled_at = 0
        """When the store was last found to be away, or first found to be there."""

    def note_opened(self) -> None:
        """It is there."""
        self.unsettled_at = self._now()

    def note_trouble(self, error: StoreError) -> None:
        """It could not be written to; said once per kind of trouble."""
        self.unsettled_at = self._now()
        if self._trouble != type(error).__name__:
            self._trouble = type(error).__name__
            logger.error("%s Nothing is lost; trying again until it works.", error)

    def note_success(self) -> None:
        """It was written to."""
        if self._trouble is not None:
            self._trouble = None
            logger.warning("the store can be written to again: work goes on")
