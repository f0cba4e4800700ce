"""Children that are asked for by state or task, however many others lie between them."""

from __future__ import annotations

import pytest

from fanwood.model.states import RunState
from fanwood.store import children
from tests.conformance.stage import Stage


@pytest.mark.parametrize("bound", [1, 3, 1000])
async def test_few_are_found_among_others(stage: Stage, bound: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(children, "VISITED", bound)
    monkeypatch.setattr(children, "FAILED", bound)
    parent = await stage.running("a")
    other = await stage.running("b", parent)
    below = [other, *[await stage.running("c", at, worker=stage.worker) for at in [parent, other] * 6]]
    for run in (below[at] for at in (1, 2, 4, 5, 6, 11)):
        await stage.fail(run)
    below = [run for run in below if run.parent_id == parent.id]
    ids = sorted(run.key for run in below)
    failed = [below[at].key for at in (1, 3, 6)]

    async def found(**about: object) -> list[bytes]:
        return [run.id for run in await stage.store.children(parent.key, **about)]  # pyright: ignore[reportArgumentType]

    assert await found(state=RunState.FAILED) == failed
    assert await found(state=RunState.FAILED, limit=2) == failed[:2]
    assert await found(state=RunState.FAILED, after=failed[0], limit=1) == failed[1:2]
    assert await found(state=RunState.FAILED, task="none") == await found(state=RunState.CANCELLED) == []
    assert await found(limit=5) == ids[:5]
    assert await found(after=ids[4]) == ids[5:]
    assert await found(state=RunState.FAILED, limit=0) == await found(limit=0) == []
