"""Listings by metadata: what few roots bear is found wherever it stands, once, newest first."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fanwood import RunState
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


@pytest.mark.parametrize(
    "about", [{}, {"every": True}, {"task": "a"}, {"state": RunState.FAILED, "every": True}, {"state": RunState.FAILED}]
)
async def test_what_is_older_and_newer(stage: Stage, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any]) -> None:
    monkeypatch.setattr(listing, "WALK", 3)
    times: list[int] = []
    ids: list[bytes] = []
    for _ in range(8):
        stage.clock.advance(1)
        run = await stage.running("a")
        ids.append(run.key)
        times.append((await stage.get(run)).created_at)
        await stage.fail(run)

    def since(n: int) -> int:  # of all runs it is told by their ids, which have no time in them here
        return 0 if about == {"every": True} else times[n]

    for low, high in ((2, 5), (0, 8), (7, 8), (3, 3)):
        until = times[high] if high < 8 else times[7] + SECOND // 2
        expected = ids[low:high][::-1]
        for limit in (1, 2, 50):
            found = await listed(stage, RunFilter(since=since(low), until=until, limit=limit, **about))
            assert found == (expected if since(low) else ids[:high][::-1])
    assert await listed(stage, RunFilter(until=0, **about)) == []
