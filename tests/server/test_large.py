"""Families of more than a few segments: how much of them is looked at, and that a lens knows all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.trees import Made, make, wide
from fanwood import Settings, SystemClock
from fanwood.ids import id_text
from fanwood.lens import pages
from fanwood.lens.book import Lenses
from fanwood.lens.briefs import total
from fanwood.model.looks import SEGMENT
from fanwood.model.records import RunFilter
from fanwood.store.opening import store_for
from fanwood.store.sqlite.store import SqliteStore

RUNS = 2 * SEGMENT + 1_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    path = tmp_path_factory.mktemp("large") / "large.db"
    settings = Settings.load(database_url=f"sqlite:///{path}")
    return path, asyncio.run(make(settings, wide(RUNS + 1, failed=40, running=0)))


@pytest.fixture
async def store(made: tuple[Path, Made]) -> AsyncIterator[SqliteStore]:
    store = store_for(Settings.load(database_url=f"sqlite:///{made[0]}"), SystemClock(), create=False, looks=5.0)
    await store.open(lambda: None)
    assert isinstance(store, SqliteStore)
    yield store
    await store.close()


@pytest.fixture
def asked(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statements, as they are asked."""
    names: list[str] = []
    real = store.looked

    async def looked(name: str, /, **bindings: Any) -> list[Any]:
        names.append(name)
        return await real(name, **bindings)

    monkeypatch.setattr(store, "looked", looked)
    return names


async def test_without_a_lens_the_first_segments_are_looked_at(
    store: SqliteStore, made: tuple[Path, Made], asked: list[str]
) -> None:
    root = made[1].root
    for families in ((await pages.run(store, root)).families, (await pages.children(store, root)).families):
        assert all(family.more for family in families)
        assert sum(total(family.counts) for family in families) == 2 * SEGMENT
    assert asked.count("cube") == 4


async def test_a_lens_that_has_read_the_tree_knows_all_of_them(
    store: SqliteStore, made: tuple[Path, Made], asked: list[str]
) -> None:
    root, lenses = made[1].root, Lenses(SystemClock())
    assert await lenses.known(store, root) is None
    await lenses.warm(store, root)
    asked.clear()
    found = await pages.run(store, root, lambda id_: lenses.known(store, id_))
    assert [family.task for family in found.families] == ["index", "parse"]
    assert sum(total(family.counts) for family in found.families) == RUNS
    assert not any(family.more for family in found.families)
    assert "cube" not in asked


async def test_the_critical_path_looks_where_the_last_one_is(
    store: SqliteStore, made: tuple[Path, Made], asked: list[str]
) -> None:
    root, lenses = made[1].root, Lenses(SystemClock())
    await lenses.warm(store, root)
    asked.clear()
    way = await pages.critical_path(store, root, lambda id_: lenses.warm(store, id_))
    assert asked.count("latest") == 1
    oldest = await store.children(root, limit=RUNS)
    queued = min(run.id for run in oldest if run.finished_at is None)
    assert [step.run.id for step in way] == [id_text(root), id_text(queued)]
    assert way[1].siblings == RUNS - 1


async def test_a_list_of_trees_counts_a_sample(store: SqliteStore, asked: list[str]) -> None:
    found = await pages.trees(store, RunFilter())
    assert [total(counts) for counts in found.counts.values()] == [pages.SAMPLE + 1]
    assert asked.count("cube") == 0
