"""Listings by metadata: what few roots bear is found wherever it stands, once, newest first."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fanwood.model.records import RunFilter
from fanwood.store import listing
from fanwood.store.postgres import reading
from tests.conformance.stage import SECOND, Stage

RARE, COMMON = (("order", "7"),), (("team", '"red"'),)


async def listed(stage: Stage, filter_: RunFilter) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(100):
        page = await stage.store.listing(filter_)
        found += [run.id for run in page.runs]
        if page.after is None:
            return found
        filter_ = replace(filter_, after=page.after)
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("few", [0, 1, 2, 2000])
@pytest.mark.parametrize("at", [0, 5, 19])
async def test_what_few_bear_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch, few: int, at: int) -> None:
    monkeypatch.setattr(listing, "WALK", 3)
    monkeypatch.setattr(reading, "FEW", few)
    roots: list[bytes] = []
    for n in range(20):
        stage.clock.advance(1)
        metadata = '{"order":7,"team":"red"}' if n == at else '{"team":"red"}' if n % 2 else None
        roots.append(await stage.born("a", metadata=metadata))
    await stage.born("a", metadata="7")
    red = [id_ for n, id_ in enumerate(roots) if n % 2 or n == at][::-1]
    since = stage.clock.now() - 21 * SECOND
    for limit in (1, 2, 50):
        assert await listed(stage, RunFilter(metadata=RARE, limit=limit)) == [roots[at]]
        assert await listed(stage, RunFilter(metadata=COMMON, limit=limit)) == red
        assert await listed(stage, RunFilter(metadata=COMMON, limit=limit, prefix="b")) == []
        assert await listed(stage, RunFilter(metadata=COMMON, limit=limit, since=since)) == red
