"""That trees made by hand are such as Fanwood would have made."""

from dataclasses import replace

import msgspec
import pytest

from benchmarks.trees import HOST, Made, Shape, deep, make, recorded, suspended, wide
from fanwood import Settings, SystemClock
from fanwood.model.states import RunState
from fanwood.store.auditing import findings
from fanwood.store.failures import decode_failure
from fanwood.store.opening import store_for
from fanwood.store.store import Store

SMALL = {
    "wide": wide(2_001, failed=31, cancelled=7, running=20),
    "deep": deep(3_011),
    "recorded": recorded(60),
    "suspended": suspended(500),
    "ended": replace(wide(101, running=0), state=RunState.COMPLETED),
}


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings.load(database_url=request.getfixturevalue("postgres_url" if request.param == "postgres" else "url"))


@pytest.mark.long
@pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)
async def test_a_tree_is_as_its_shape_says(settings: Settings, shape: Shape) -> None:
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    await store.close()
    made = await make(settings, shape)
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    try:
        await _look(store, made)
    finally:
        await store.close()


async def _look(store: Store, made: Made) -> None:
    shape = made.shape
    assert [found async for found in findings(store, full=True)] == []
    counts = {(count.task, count.state): count.count for count in await store.tree_counts(made.root)}
    assert sum(counts.values()) == shape.runs

    def number(state: RunState) -> int:
        return sum(count for (_, which), count in counts.items() if which is state)

    for state, wanted in (
        (RunState.FAILED, sum(level.failed for level in shape.levels)),
        (RunState.CANCELLED, sum(level.cancelled for level in shape.levels)),
        (RunState.RUNNING, sum(level.running for level in shape.levels) + (shape.state is RunState.RUNNING)),
        (RunState.WAITING, sum(level.waiting for level in shape.levels)),
    ):
        assert number(state) == wanted, state
    parents = [made.root]
    for level in shape.levels:
        below = [child for parent in parents[:3] for child in await store.children(parent)]
        assert len(below) == min(level.each, 1000) * len(parents[:3])
        assert [run.created_at for run in below] == sorted(run.created_at for run in below)
        assert len({run.id[-4:] for run in below}) == len(below), "ends of ids tell them apart"
        texts = [text for run in below for text in (run.input, run.output, run.error) if text is not None]
        assert all(isinstance(msgspec.json.decode(text), dict) for text in texts)
        parents = [run.id for run in below]
    failures = await store.tree_failures(made.root, None, 100)
    assert len({decode_failure(run.error).type for run in failures if "cancelled" not in (run.error or "")}) in (
        0,
        1,
        3,
    )
    assert all(worker.host == HOST for worker in await store.workers())
