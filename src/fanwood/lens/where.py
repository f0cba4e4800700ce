"""What of a tree is asked for."""

from __future__ import annotations

import msgspec


class Where(msgspec.Struct, frozen=True):
    """All must hold. Runs of one task; in one state (its name, lower case); on one path (its place in
    `TreeView.paths`) or below it; failed as one cluster says (its key); that ended (or began, or were created, if they
    have not) in a time."""

    task: str | None = None
    state: str | None = None
    path: int | None = None
    cluster: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == Where()
