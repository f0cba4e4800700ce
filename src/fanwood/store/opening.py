"""From a URL to a store."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fanwood.errors import SettingsError
from fanwood.store.urls import check_server_url, no_file, without_password

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.settings import Settings
    from fanwood.store.store import Store

_SQLITE = "sqlite:///"
_MEMORY = "memory:"
SELDOM = 0.05
"""Seconds between two looks of who only looks whether others have changed a file, at least."""
_POSTGRES = ("postgresql://", "postgres://")


def store_for(settings: Settings, clock: Clock, *, create: bool = True, looks: float | None = None) -> Store:
    """The store that `settings.database_url` names, not yet opened. `create=False`: it must exist already. `looks`: it
    exists, and is opened for looking only; no look may take more seconds than that.

    Raises:
        SettingsError: the URL is of no kind that we know, or can't be read.
    """
    url = settings.database_url
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        from fanwood.store.sqlite.store import SqliteStore  # noqa: PLC0415  (each driver loads only where it is used)

        path = _file_of(url)
        if looks is not None:
            from fanwood.store.sqlite.looking import LookingStore  # noqa: PLC0415  (as above)

            return LookingStore(path, clock, poll=max(settings.poll, SELDOM), looks=looks)
        return SqliteStore(path, clock, poll=settings.poll, create=create)
    if url.startswith(_POSTGRES):
        return _postgres(settings, clock, create=create and looks is None, looks=looks)
    if url.startswith(_MEMORY):
        return _memory(settings, clock, create=create)
    raise SettingsError(
        f"{without_password(url)!r} is not a database URL that this version knows. Use sqlite:///relative/path.db, "
        f"sqlite:////absolute/path.db or postgresql://user:password@host:port/database; memory: keeps nothing"
    )


def place_of(settings: Settings) -> str:
    """What settings that lead to one store have in common."""
    url = settings.database_url
    return f"{_SQLITE}{_file_of(url)}" if url.startswith(_SQLITE) else f"{url} {settings.postgres_schema}"


def must_exist(settings: Settings) -> None:
    """The same sentence as the store's, before anything of it is imported.

    Raises:
        StoreUnavailableError: the database is a file, and there is none.
    """
    url = settings.database_url
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        path = _file_of(url)
        if not path.exists():
            raise no_file(path)


def _file_of(url: str) -> Path:
    name = unquote(url[len(_SQLITE) :])
    if name.startswith((":memory:", "file:")):
        raise SettingsError(
            f"{url!r}: runs are kept in a file, which several connections share, and there is none in memory. Take the "
            f"URL memory: to keep nothing, or a temporary file, such as sqlite:////dev/shm/test.db"
        )
    if "?" in url:
        raise SettingsError(
            f"{url!r}: what follows the ? is not understood, and would be a part of the file's name. Leave it out "
            f"(there are settings for what can be set), or write %3F for a name that has one"
        )
    return Path(name).expanduser().absolute()


def _memory(settings: Settings, clock: Clock, *, create: bool) -> Store:
    from fanwood.store.memory.store import MemoryStore  # noqa: PLC0415  (as above)

    if settings.processes != 1:
        raise SettingsError(f"{settings.database_url} with processes={settings.processes}: no other process sees it")
    return MemoryStore(clock, url=settings.database_url, create=create)


def _postgres(settings: Settings, clock: Clock, *, create: bool, looks: float | None) -> Store:
    from fanwood.store.postgres.connection import Address  # noqa: PLC0415  (as above)
    from fanwood.store.postgres.driver import driver  # noqa: PLC0415
    from fanwood.store.postgres.store import PostgresStore  # noqa: PLC0415

    driver()  # if it isn't there, that is said now
    url, direct = settings.database_url, settings.listen_url
    for given in filter(None, (url, direct)):
        check_server_url(given)
    address = Address(
        url,
        without_password(url),
        settings.postgres_schema,
        str(os.getpid()),
        pooled=settings.pgbouncer,
        reads_only=looks is not None,
    )
    return PostgresStore(
        address,
        clock,
        notify=settings.notify,
        listen_at=replace(address, url=direct, shown=without_password(direct), pooled=False) if direct else None,
        create=create,
        lease=settings.lease,
        looks=looks,
    )
