"""Whose code is running: context variables, set for each attempt, on its task or thread."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt

current_attempt: ContextVar[Attempt | None] = ContextVar("fanwood_attempt", default=None)
"""The attempt whose code is running."""

current_run_id: ContextVar[str | None] = ContextVar("fanwood_run_id", default=None)
"""The id of the run whose code is running, for logging; None outside any."""
