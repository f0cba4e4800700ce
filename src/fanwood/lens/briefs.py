"""Runs as they go over the wire."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from fanwood.ids import id_text
from fanwood.lens.errors import brief
from fanwood.lens.views import Counts, KinView, MadeView, RunBrief
from fanwood.model.forks import fork_of
from fanwood.model.states import FIRST_WAIT, RunKind, RunState, waits_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

PREVIEW = 200
"""Characters of an input that are shown."""
NAMED, NAMES, ENDS = (RunKind.EVENT, RunKind.MESSAGE, RunKind.PROMISE), 6_200, (',"match":', ',"schema":')
"""What has a name, and perhaps a scope; so many characters these take at most; and what follows on them, which no name
contains."""


def run_brief(
    run: RunRecord,
    *,
    worker: str | None = None,
    preview: str = "",
    is_suspended: bool = False,
    kin: KinView | None = None,
) -> RunBrief:
    """A run in a list."""
    return RunBrief(
        id=id_text(run.id),
        root_id=id_text(run.root_id),
        task=run.task,
        state=run.state.name.lower(),
        kind=run.kind.name.lower(),
        depth=run.depth,
        created_at=run.created_at,
        parent_id=None if run.parent_id is None else id_text(run.parent_id),
        key=run.child_key,
        priority=run.priority,
        attempt=run.attempt,
        retries=run.retry_count,
        deaths=run.deaths,
        worker=worker,
        started_at=run.started_at,
        finished_at=run.finished_at,
        due_at=run.until,
        waits=waits_named(run.waits),
        deadline=run.deadline,
        busy=run.busy,
        error=brief(run.error),
        preview=preview,
        is_suspended=is_suspended,
        kin=kin,
        made=_made(run),
    )


def _made(run: RunRecord) -> MadeView | None:
    fork = fork_of(run.life)
    return None if fork is None else MadeView(fork.how, id_text(fork.key))


def counts_of(states: Mapping[int, int]) -> Counts:
    """How many are in which state."""
    found = Counter[str]()
    for state, count in states.items():
        found[RunState(state).name.lower()] += count
    return Counts(**found)


def total(counts: Counts) -> int:
    """All of them."""
    return sum(msgspec.structs.astuple(counts))


async def names_of(store: Store, runs: Iterable[RunRecord]) -> dict[int, str]:
    """The names of their workers, of those that are there."""
    if not any(run.worker_id for run in runs):
        return {}
    return {one.id: one.name for one in await store.workers()}


async def suspended_of(store: Store, runs: Iterable[RunRecord]) -> set[bytes]:
    """Which of them are suspended; nothing is asked if none can be."""
    ids = [run.id for run in runs if run.state is RunState.WAITING and run.kind < FIRST_WAIT]
    return set(await store.suspended(ids)) if ids else set()


async def kin_of(store: Store, runs: Iterable[RunRecord]) -> dict[bytes, KinView]:
    """What they have to do with others; nothing is asked of roots, which have nothing."""
    ids = [run.id for run in runs if run.parent_id is not None]
    found = await store.kin(ids) if ids else []
    return {one.run_id: KinView(one.bond, id_text(one.other), one.task, one.state.name.lower()) for one in found}


async def previews_of(store: Store, runs: Sequence[RunRecord]) -> list[str]:
    """How their inputs begin; those of waits so far that the longest name, and scope, stand there whole."""
    found = await store.previews([run.id for run in runs], PREVIEW)
    cut = [n for n, run in enumerate(runs) if run.kind in NAMED and not any(end in found[n] for end in ENDS)]
    for n, whole in zip(cut, await store.previews([runs[n].id for n in cut], NAMES) if cut else (), strict=True):
        found[n] = whole
    return found


async def named_briefs(store: Store, runs: list[RunRecord], *, preview: bool = True) -> tuple[RunBrief, ...]:
    """Runs, with the names of their workers and the beginnings of their inputs."""
    names, unloaded = await names_of(store, runs), await suspended_of(store, runs)
    kin = await kin_of(store, runs)
    previews = await previews_of(store, runs) if preview and runs else [""] * len(runs)
    return tuple(
        run_brief(
            run,
            worker=names.get(run.worker_id or 0),
            preview=text,
            is_suspended=run.id in unloaded,
            kin=kin.get(run.id),
        )
        for run, text in zip(runs, previews, strict=True)
    )
