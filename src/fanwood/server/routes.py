"""The one table: what can be asked for, and by whom."""

from __future__ import annotations

from fanwood.server import acting, done, entering, forking, happening, looking, openapi, reading, settling, streaming

ROUTES = (
    *entering.ROUTES,
    *reading.ROUTES,
    *looking.ROUTES,
    *acting.ROUTES,
    *done.ROUTES,
    *forking.ROUTES,
    *settling.ROUTES,
    *happening.ROUTES,
    *streaming.ROUTES,
    *openapi.ROUTES,
)
