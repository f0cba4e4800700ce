"""The one table: what can be asked for, and by whom."""

from __future__ import annotations

from fanwood.server import acting, entering, looking, openapi, reading

ROUTES = (*entering.ROUTES, *reading.ROUTES, *looking.ROUTES, *acting.ROUTES, *openapi.ROUTES)
