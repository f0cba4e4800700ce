"""What `make test` leaves to `make chaos` (`-p tests.beside.in_turn`), so that it ends within minutes. Whoever names a
file to pytest has all of it.

What is above the stores is tested on one of them: the tests of a file in memory, on SQLite and on PostgreSQL in turn,
as far as they have them. What a store does itself is tested on each, always (`tests/conformance`). And what is marked
`long` is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from zlib import crc32

import pytest

ABOVE_STORES = {"semantics", "server", "chaos", "faults", "benchmarks"}
STORES = ("memory", "sqlite", "postgres")


@pytest.hookimpl(trylast=True)  # (some files leave out a database altogether)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {*_of_other_stores(items), *(item for item in items if item.get_closest_marker("long"))}
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _of_other_stores(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    alike: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.path.parent.name in ABOVE_STORES and (store := _store_of(item)):
            alike.setdefault((str(item.path), item.name.replace(store, "")), []).append(item)
    turns: dict[str, Iterator[int]] = {}
    for (path, _), found in alike.items():
        if len(found) > 1:
            turn = next(turns.setdefault(path, count(crc32(path.rpartition("/")[2].encode()))))
            yield from (item for item in found if item is not found[turn % len(found)])


def _store_of(item: pytest.Item) -> str | None:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return next((value for value in params.values() if isinstance(value, str) and value in STORES), None)
