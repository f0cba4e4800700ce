"""What `make test` leaves to `make chaos` (`-p tests.beside.in_turn`), so that it ends within minutes. Whoever names a
file to pytest has all of it.

What is above the stores is tested on one database: the tests of a file on SQLite and PostgreSQL in turn. What a store
does itself is tested on each, always (`tests/conformance`), and so is what these tests do in memory. And what is marked
`long` is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from zlib import crc32

import pytest

ABOVE_STORES = {"semantics", "server", "chaos", "faults", "benchmarks"}
DATABASES = ("sqlite", "postgres")


@pytest.hookimpl(trylast=True)  # (some files leave out a database altogether)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {*_of_the_other_database(items), *(item for item in items if item.get_closest_marker("long"))}
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _of_the_other_database(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    alike: dict[tuple[str, str], dict[str, list[pytest.Item]]] = {}
    for item in items:
        if item.path.parent.name in ABOVE_STORES and (database := _database_of(item)):
            key = str(item.path), item.name.replace(database, "")
            alike.setdefault(key, {}).setdefault(database, []).append(item)
    turns: dict[str, Iterator[int]] = {}
    for (path, _), found in alike.items():
        if len(found) == len(DATABASES):
            turn = turns.setdefault(path, count(crc32(path.rpartition("/")[2].encode())))
            yield from found[DATABASES[next(turn) % 2]]


def _database_of(item: pytest.Item) -> str | None:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return next((value for value in params.values() if isinstance(value, str) and value in DATABASES), None)
