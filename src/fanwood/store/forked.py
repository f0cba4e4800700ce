"""Forking a run, as those who call it want it: from ids to what stands in the new run's row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import UsageError
from fanwood.ids import id_text
from fanwood.model.forks import DEPTH, Fork, draws_of
from fanwood.model.lives import life_of
from fanwood.model.looks import Bond
from fanwood.model.states import FIRST_WAIT, RunKind
from fanwood.store.forking import NewFork, must_fork

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store


async def forked(
    store: Store,
    run: RunRecord,
    new: bytes,
    at: RunRecord | None,
    input_: str | None,
    by: str,
    part: tuple[tuple[str, int], ...] | None = None,
) -> bool:
    """Make a run with that id, a root, that takes what `run` had finished; False if it is there already.

    at: a run below, from which on nothing is taken. input_: as JSON, of that one if it is given, else of the fork; of a
    workflow's step it is the workflow's, or all that it is handed.
    part: what it, and all below it, may use: a budget as it is stored.

    Raises:
        RunNotFoundError: there is no such run, or its tree is being deleted.
        UsageError: it can't be forked; `at` is not below it, or has no input.
    """
    must_fork(run.id, run.kind, run.state)
    draws = draws_of(run.id, run.life)
    if at is None:
        fork = Fork(run.id.hex(), draws=draws, changed=input_ is not None, by=by)
        return await store.fork(NewFork(new, run.id, fork.text, input_, None, int(fork.changed), by, part))
    if input_ is not None and at.kind >= FIRST_WAIT:
        raise UsageError(
            f"Run {id_text(at.id)} is given no input: it is a part of its parent. Fork at it without one, and it is "
            f"done again; or give another input to a run with code"
        )
    if input_ is not None and at.kind is RunKind.STEP:
        input_ = _handed(at, input_)
    fork = Fork(run.id.hex(), way=await _way(store, run, at), input=input_, draws=draws, by=by)
    return await store.fork(NewFork(new, run.id, fork.text, None, at.id, int(input_ is not None), by, part))


def task_of_input(run: RunRecord, given: object) -> str:
    """Of which task another input for a run must be one. A workflow's step is given one of the workflow."""
    return run.task.rpartition(":")[0] if run.kind is RunKind.STEP and not _is_whole(given) else run.task


def _is_whole(given: object) -> bool:
    """Whether that is all that a step is handed, as `runs get` shows it, and not the input of its workflow alone."""
    return isinstance(given, dict) and "input" in given and "outputs" in given


def _handed(at: RunRecord, given: str) -> str:
    """What a step is handed: another input of its workflow, beside what the steps before it have returned."""
    if _is_whole(msgspec.json.decode(given)):
        return given
    was = msgspec.json.decode(at.input or "{}", type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**was, "input": msgspec.Raw(given.encode())}).decode()


async def _way(store: Store, run: RunRecord, at: RunRecord) -> list[str]:
    """The ids from a child of `run` down to `at`."""
    if at.id == run.id:
        raise UsageError(
            f"Run {id_text(at.id)} is forked at itself: that would take nothing of it. Start it anew, or leave out `at`"
        )
    levels = at.depth - run.depth
    if levels > DEPTH:
        raise UsageError(
            f"Run {id_text(at.id)} is {levels:,} levels below {id_text(run.id)}, and a fork has its way there in its "
            f"row: {DEPTH:,} at most. Fork a run that is nearer"
        )
    way, here = [at.id], at
    while here.parent_id not in (run.id, None) and len(way) < levels:
        (parent,) = await store.briefs([here.parent_id or b""]) or (at,)
        await _must_be_of_now(store, at, here, parent)
        here = parent
        way.append(here.id)
    if here.parent_id != run.id:
        raise UsageError(f"Run {id_text(at.id)} is not below {id_text(run.id)}, so that can't be forked at it")
    await _must_be_of_now(store, at, here, run)
    await _must_be_asked_for(store, at, way)
    return [id_.hex() for id_ in way[::-1]]


async def _must_be_of_now(store: Store, at: RunRecord, run: RunRecord, parent: RunRecord) -> None:
    """Refuse what a run asked for before it started over: a fork of it asks for what its last life asked for."""
    life = life_of(parent.life)
    if life is None:
        return
    before = (int.from_bytes(run.id, "big") - 1).to_bytes(16, "big")
    kept = await store.kept(parent.id, None, before, 1, -1)
    if run.id <= life.floor or (kept and kept[0].id == run.id and kept[0].asked < life.since):
        raise UsageError(
            f"Run {id_text(at.id)} is of a life that is over: {id_text(parent.id)} has started over since, and a fork "
            f"of it begins with its last life. Fork at a run of that, or without `at`"
        )


async def _must_be_asked_for(store: Store, at: RunRecord, way: list[bytes]) -> None:
    """Refuse what no code asks for by itself: it would not be met on the way, and a fork at it be none."""
    for kin in await store.kin(way):
        if kin.bond is Bond.SHARED:
            raise UsageError(
                f"Run {id_text(at.id)} is, or is below, {kin.task} {id_text(kin.run_id)}, which calls of its tree "
                f"share. Fork at one of these calls (a run `~share`), or at a run that makes one"
            )
        if kin.bond is Bond.HELPS:
            raise UsageError(
                f"Run {id_text(at.id)} is, or is below, a hedge: the second run of {kin.task} {id_text(kin.other)}. "
                f"Fork at that one"
            )
