"""A lens, against a naive recount, while everything happens to runs that can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from fanwood import RunState
from fanwood.errors import RunNotFoundError
from fanwood.lens.failures import MISSED
from fanwood.lens.lens import Lens
from fanwood.lens.pieces import Sizes
from fanwood.lens.views import TreeView
from fanwood.model.looks import duration_class
from fanwood.model.records import RunRecord, TaskCount
from fanwood.model.states import FIRST_WAIT
from tests.chaos.scale import scaled
from tests.conformance.stage import MakeStore, Stage
from tests.conformance.test_differential import KINDS, MANY, Stream

STEPS = 150
SMALL = Sizes(segment=4, few=2, medium=3, together=2)
"""So that all that happens to pieces of large trees happens to those of small ones."""


async def recount(stage: Stage, root: bytes) -> dict[str, Any]:
    """What a lens should say of a tree: from all rows."""
    everything = [run for run in (await stage.records()).values() if run.root_id == root]
    runs = [run for run in everything if run.kind < FIRST_WAIT]
    by_id = {run.id: run for run in runs}
    chains = {run.id: _folded(_chain(run, by_id)) for run in runs}
    return {
        "counts": Counter(run.state.name.lower() for run in runs),
        "waits": Counter(run.state.name.lower() for run in everything if run.kind >= FIRST_WAIT),
        "tasks": Counter((run.task, run.state.name.lower()) for run in runs),
        "paths": Counter((chains[run.id], run.state.name.lower()) for run in runs),
        "took": Counter((run.task, took) for run in runs if (took := _class(run)) is not None),
        "busy": sum(run.busy for run in runs),
        "failures": sum(run.state is RunState.FAILED for run in runs),
        "oldest_queued": min((run.created_at for run in runs if run.state is RunState.QUEUED), default=None),
        "ends": sum(run.finished_at is not None for run in runs),
        "is_final": all(run.state.is_terminal for run in everything),
    }


def _chain(run: RunRecord, by_id: dict[bytes, RunRecord]) -> tuple[str, ...]:
    above = by_id[run.parent_id] if run.parent_id is not None else None
    return (*(_chain(above, by_id) if above is not None else ()), run.task)


def _folded(chain: tuple[str, ...]) -> tuple[str, ...]:
    """What calls itself stays where it was."""
    way: list[str] = []
    for task in chain:
        way = way[: way.index(task)] if task in way else way
        way.append(task)
    return tuple(way)


def _class(run: RunRecord) -> int | None:
    if run.finished_at is None or run.started_at is None:
        return None
    return duration_class(run.finished_at - run.started_at)


def told(view: TreeView) -> dict[str, Any]:
    """The same, as a view says it."""
    chains: list[tuple[str, ...]] = []
    for path in view.paths:
        chains.append((*(chains[path.parent] if path.parent >= 0 else ()), path.task))
    ends = () if view.strip is None else (*view.strip.completed, *view.strip.failed, *view.strip.cancelled)
    return {
        "counts": _counter(view.counts),
        "waits": _counter(view.waits),
        "tasks": Counter({(one.task, s): n for one in view.tasks for s, n in _counter(one.counts).items()}),
        "paths": _paths(view, chains),
        "took": Counter(
            {(one.task, one.took.first + n): count for one in view.tasks for n, count in enumerate(one.took.counts)}
        )
        + Counter(),
        "busy": view.busy,
        "failures": sum(cluster.count for cluster in view.clusters),
        "oldest_queued": view.oldest_queued,
        "ends": sum(ends),
        "is_final": view.is_final,
    }


def _paths(view: TreeView, chains: list[tuple[str, ...]]) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for path, chain in zip(view.paths, chains, strict=True):
        for state, count in _counter(path.counts).items():
            found[chain, state] += count
    return found


def _counter(counts: Any) -> Counter[str]:
    return Counter({name: n for name in counts.__struct_fields__ if (n := getattr(counts, name))})


async def settled(lens: Lens, stage: Stage, *, quickly: bool) -> None:
    """All of it has been read since nothing happens any more. `quickly`: as it was asked for."""
    lap = lens.laps
    while lens.laps < lap + (1 if quickly else 3):
        if quickly:
            lens.recheck()
        await lens.refresh(stage.store)
    for _ in range(MISSED + 2):  # until what failed, and was asked for anew, is no failure any more
        await lens.refresh(stage.store)


@pytest.mark.parametrize("sizes", [SMALL, Sizes()], ids=["pieces", "whole"])
async def test_it_says_what_a_recount_says(
    store_factory_anew: Callable[[], MakeStore], backend: str, sizes: Sizes
) -> None:
    for seed in range(scaled(6, 2) if backend == "memory" else 1):
        async with Stage(store_factory_anew()) as stage:
            await _live(stage, seed, sizes, STEPS if backend == "memory" else STEPS // scaled(2, 4))


async def _live(stage: Stage, seed: int, sizes: Sizes, steps: int) -> None:
    stream, lenses = Stream({"one": stage}, seed), dict[bytes, Lens]()
    await stream.begin()
    for step in range(steps):
        (kind,) = stream.random.choices(list(KINDS), list(KINDS.values())) if stream.about else ["spawn"]
        if kind == "spawn" and len(stream.about) > 5:
            kind = "spawn_children"
        if kind.startswith("spawn") and len(stream.about) > MANY:
            kind = "claim"
        await getattr(stream, kind)()
        await stream.settle()
        roots = sorted({about["root"] for about in stream.about.values()})
        lens = (
            lenses.setdefault(root := stream.random.choice(roots), Lens(root, stage.clock, sizes=sizes))
            if roots
            else None
        )
        if lens is not None:
            await _step(lens, stage, lenses)
        if step % 15 == 14:
            for root, lens in list(lenses.items()):
                if root in await stage.records():
                    await settled(lens, stage, quickly=stream.random.random() < 0.5)
                    assert told(lens.view()) == await recount(stage, root), "\n".join(stream.story[-30:])
                    assert _numbers(lens.counts()) == _numbers(await stage.store.tree_counts(root))
                else:
                    with pytest.raises(RunNotFoundError):
                        await lens.refresh(stage.store)
                    del lenses[root]


def _numbers(counts: Iterable[TaskCount]) -> list[tuple[str, int, int]]:
    return [(each.task, each.state, each.count) for each in counts]


async def _step(lens: Lens, stage: Stage, lenses: dict[bytes, Lens]) -> None:
    try:
        await lens.refresh(stage.store)
    except RunNotFoundError:
        lenses.pop(lens.root)


async def test_what_was_short_is_shown_finely_however_long_ago_it_was(
    store_factory_anew: Callable[[], MakeStore],
) -> None:
    async with Stage(store_factory_anew()) as stage:
        root = await stage.running()
        stage.clock.advance(4)
        await stage.complete(root)
        stage.clock.advance(3600)
        lens = Lens(root.key, stage.clock)
        await settled(lens, stage, quickly=False)
        strip = lens.view().strip
        assert strip is not None
        assert strip.width * 100 < 4_000_000
