"""What trees of a SQLite file may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/budgets.sql")
_sizes = msgspec.json.Decoder(list[tuple[str, int]])


def take_blocks(connection: Database, blocks: Sequence[tuple[bytes, int]]) -> dict[bytes, int]:
    """Room is taken for more runs of large trees; for how many it was in all."""
    rows = encoded([(root.hex(), runs) for root, runs in blocks])
    connection.execute(_SQL["take_blocks"], {"rows": rows})
    sizes = _sizes.decode(connection.execute(_SQL["read_sizes"], {"rows": rows}).get)
    return {bytes.fromhex(root): runs for root, runs in sizes}
