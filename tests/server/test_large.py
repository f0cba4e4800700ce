"""Families of more than a few segments: how much of them is looked at, and that a lens knows all of them."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.trees import Made, make, wide
from fanwood import Settings, SystemClock
from fanwood.ids import id_bytes, id_text
from fanwood.lens import pages
from fanwood.lens.book import Lenses
from fanwood.lens.briefs import total
from fanwood.lens.where import Where
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
    assert asked.count("cube") + asked.count("cube_near") == 4


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


async def test_the_waterfall_shows_examples_of_all_of_a_large_family(
    store: SqliteStore, made: tuple[Path, Made]
) -> None:
    root, lenses = made[1].root, Lenses(SystemClock())
    lens = await lenses.warm(store, root)
    lanes = (await pages.waterfall(store, root, None, lambda id_: lenses.known(store, id_))).lanes
    slow = {lane.run.id for lane in lanes if lane.why == "slow"}
    assert slow == {run.id for run in (await pages.slowest(store, lens, limit=5)).runs}
    assert len(lanes) <= 101
    ends = [piece.part.until for piece in lens.segments(root)]
    shown = [bisect_left(ends, id_bytes(lane.run.id)) for lane in lanes[1:]]
    assert set(shown) == set(range(len(ends)))
    without = (await pages.waterfall(store, root)).lanes
    assert {bisect_left(ends, id_bytes(lane.run.id)) for lane in without[1:]} == {0}


async def test_a_list_of_trees_counts_a_sample(store: SqliteStore, asked: list[str]) -> None:
    found = await pages.trees(store, RunFilter())
    assert [total(counts) for counts in found.counts.values()] == [pages.SAMPLE + 1]
    assert asked.count("cube") + asked.count("cube_near") == 0


async def test_a_kind_of_failure_narrows_all_that_is_shown(store: SqliteStore, made: tuple[Path, Made]) -> None:
    lens = await Lenses(SystemClock()).warm(store, made[1].root)
    clusters = lens.view().clusters
    assert len(clusters) > 1
    for cluster in clusters:
        view = lens.view(where=Where(cluster=cluster.key))
        assert total(view.counts) == view.counts.failed == cluster.count
        assert view.strip is not None
        assert sum(view.strip.failed) == cluster.count
        assert sum(total(path.counts) for path in view.paths) == cluster.count
        assert sum(sum(task.took.counts) for task in view.tasks) == cluster.count
    assert total(lens.view(where=Where(cluster="none")).counts) == 0
    for where in (Where(task="index"), Where(task="parse", since=lens.view().root.created_at), Where(until=1)):
        view = lens.view(where=where)
        assert sum(cluster.count for cluster in view.clusters) == view.counts.failed


@pytest.mark.parametrize("of", ["path", "time", "both"])
async def test_what_a_filter_lets_through_is_listed_to_the_last(
    store: SqliteStore, made: tuple[Path, Made], of: str
) -> None:
    root = made[1].root
    lens = await Lenses(SystemClock()).warm(store, root)
    view = lens.view()
    runs = {id_text(run.id): run for run in await store.children(root, limit=2 * RUNS)}
    middle = sorted(run.finished_at for run in runs.values() if run.finished_at is not None)[RUNS // 2]
    index = [path.task for path in view.paths].index("index")
    where = Where(path=index if of != "time" else None, until=middle if of != "path" else None)
    found, after = set[str](), None
    while True:
        page = await pages.narrowed(store, lens, where, after, 1_000)
        found |= {run.id for run in page.runs}
        after = page.after
        if after is None:
            break
    assert found == {
        id_
        for id_, run in runs.items()
        if (of == "time" or run.task == "index") and (of == "path" or (run.finished_at or run.created_at) < middle)
    }


async def test_a_page_of_what_fits_goes_on_where_another_ended(store: SqliteStore, made: tuple[Path, Made]) -> None:
    lens = await Lenses(SystemClock()).warm(store, made[1].root)
    first = await pages.narrowed(store, lens, Where(state="failed"), None, 15)
    second = await pages.narrowed(store, lens, Where(state="failed"), first.after, 100)
    assert (len(first.runs), len(second.runs), second.after) == (15, 25, None)
    with pytest.raises(ValueError, match=r"unpack|literal|hex"):
        await pages.narrowed(store, lens, Where(), "nowhere", 5)
