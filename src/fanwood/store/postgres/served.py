"""What the parts of a store on PostgreSQL have of the whole, whatever their verbs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanwood.store.postgres.chores import Places
    from fanwood.store.postgres.connection import Link, Transaction


class Served:
    """A part of the store: a `Host` of chores (see `chores.py`)."""

    url: str
    lease: float
    places: Places
    side: Link
    notifies: bool

    @property
    def given_now(self) -> int | None:
        """See `PostgresStore`, as of the others."""
        raise NotImplementedError

    async def instant(self, db: Transaction) -> int:
        """The present of a transaction."""
        raise NotImplementedError
