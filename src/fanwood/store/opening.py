"""From a URL to a store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fanwood.errors import SettingsError

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.settings import Settings
    from fanwood.store.store import Store

_SQLITE = "sqlite:///"


def store_for(settings: Settings, clock: Clock, *, create: bool = True) -> Store:
    """The store that `settings.database_url` names, not yet opened. `create=False`: it must exist already.

    Raises:
        SettingsError: the URL is of no kind that we know.
    """
    url = settings.database_url
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        from fanwood.store.sqlite.store import SqliteStore  # noqa: PLC0415  (each driver loads only where it is used)

        path = Path(unquote(url[len(_SQLITE) :])).expanduser().absolute()
        return SqliteStore(path, clock, poll=settings.poll, create=create)
    raise SettingsError(
        f"{without_password(url)!r} is not a database URL that this version knows. "
        f"Use sqlite:///relative/path.db or sqlite:////absolute/path.db"
    )


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
