"""The one table: what can be asked for, and by whom."""

from __future__ import annotations

from fanwood.server import reading

ROUTES = (*reading.ROUTES,)
