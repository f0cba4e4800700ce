"""Actions on many runs are runs themselves: what they are called."""

from __future__ import annotations

SPACE = "fanwood.actions"
"""The namespace of what executes them. No filter of an action leads there."""
BULK, PIECE, START = "bulk", "piece", "start"
