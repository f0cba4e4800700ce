"""What the server itself executes: an action on many runs is a tree, and so survives the server, shows how far it is,
can be cancelled, and says who wanted it.

`bulk` is the root. For each thousand runs it has a child that finds them, and one that does it to them. Both are done
once: what was found stands in the store, and what has been done to a run shows in that run. So whoever goes on after a
crash does nothing twice, and counts right.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from fanwood.app import Fanwood
from fanwood.ids import id_bytes
from fanwood.model.actions import SPACE
from fanwood.sdk.running.waiting import called
from fanwood.sdk.tasks.context import Context  # noqa: TC001  (annotations of tasks are read at run time)
from fanwood.server.choosing import PAGE, Wanted, names_of, page
from fanwood.store.many import MANY, Deed
from fanwood.store.retention import delete_tree
from fanwood.store.retrying import all_failures_retried
from fanwood.store.surgeries import forks_of, to_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fanwood.model.records import RunRecord
    from fanwood.sdk.tasks.task import Standalone
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

SLICE = MANY // 2
"""Runs to which something is done before it is looked whether the action goes on: in one transaction, on PostgreSQL by
one statement, which is to take no longer than 50 ms (of a processor it takes 20; where 100 are retried, 40)."""
SLOTS = 8


class Bulk(msgspec.Struct, frozen=True):
    """An action on all that a filter lets through. `count`: how many that was, or (`at_least`) at least, at the
    preview. `token` tells two of the same from each other."""

    wanted: Wanted
    by: str
    count: int
    at_least: bool = False
    token: str = ""


class Place(msgspec.Struct, frozen=True):
    """Where a page begins."""

    wanted: Wanted
    after: str = ""


class Part(msgspec.Struct, frozen=True):
    """Some of them; `after`: where it goes on."""

    ids: tuple[str, ...]
    after: str | None = None


class Piece(msgspec.Struct, frozen=True):
    """To which runs something is to be done."""

    wanted: Wanted
    ids: tuple[str, ...]
    by: str = ""


class Begun(msgspec.Struct, frozen=True):
    """Which run was started, and by whom."""

    id: str
    task: str
    by: str
    namespace: str = ""


class Tally(msgspec.Struct, frozen=True):
    """What came of it. `left`: runs to which it could not be done, as they had changed."""

    done: int = 0
    left: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.done + other.done, self.left + other.left)


class Deeds(NamedTuple):
    """The built-in tasks, and the `Fanwood` object with the engine that executes them and nothing else."""

    app: Fanwood
    bulk: Standalone[Bulk, Tally]
    piece: Standalone[Piece, Tally]
    start: Standalone[Begun, Tally]

    async def ask(self, verb: Callable[[Store], Awaitable[T]], *, changes: bool = False) -> T:
        """Ask the store, by way of the engine."""
        return await called(self.app.engine().call(verb, changes=changes))


def declare(settings: Settings) -> Deeds:
    """On a new object, on the store of these settings."""
    app = Fanwood(shared=False, local_worker=True)
    app.settings = replace(settings, namespace=SPACE, slots=SLOTS, processes=1)
    engine = app.engine

    @app.task(retries=5, backoff_factor=2.0)
    async def find(place: Place) -> Part:
        """The next thousand runs that the filter lets through."""
        found = await called(engine().call(lambda store: page(store, place.wanted, place.after, PAGE, twice=True)))
        return Part(names_of(found.runs), found.after)

    @app.task(retries=5, backoff_factor=2.0)
    async def piece(piece: Piece, ctx: Context) -> Tally:
        """Do it to these."""
        tally, again, key = Tally(), ctx.attempt_number > 1, id_bytes(ctx.task_run_id)
        for start in range(0, len(piece.ids), SLICE):
            ids = [id_bytes(each) for each in piece.ids[start : start + SLICE]]
            verb = functools.partial(_do, wanted=piece.wanted, ids=ids, by=piece.by, again=again, key=key)
            done = await called(engine().call(verb, changes=True))
            tally += Tally(done, len(ids) - done)
        return tally

    @app.task
    async def bulk(deed: Bulk, ctx: Context) -> Tally:
        """An action on all that a filter lets through, a thousand at a time."""
        tally, after = Tally(), ""
        while after is not None:
            part = await find.aio_run(Place(deed.wanted, after))
            if part.ids:
                tally += await piece.aio_run(Piece(deed.wanted, part.ids, deed.by))
            seen, after = tally.done + tally.left, part.after
            ctx.progress(seen, max(seen, deed.count), f"{deed.wanted.action} by {deed.by}")
        return tally

    @app.task
    async def start(begun: Begun) -> Tally:  # noqa: ARG001
        """A run was started: this keeps who did, and is done with that."""
        return Tally(1)

    return Deeds(app, bulk, piece, start)


async def _do(store: Store, wanted: Wanted, ids: Sequence[bytes], by: str, *, again: bool, key: bytes = b"") -> int:
    """To those that are still as they were found; to how many. `again`: an attempt before this one may have begun, and
    what has changed since has changed by that. `key`: by what forks are named."""
    there = await store.briefs(ids)
    runs = [run for run in there if wanted.fits(run)]
    match wanted.action:
        case "cancel":
            named = [run for run in there if wanted.may(run)] if wanted.filter.ids else runs  # also below what ended
            await to_all(store, Deed("cancel", "by request"), [run.id for run in named])
            done = len(runs)
        case "pause" | "resume":
            new = await to_all(store, Deed(wanted.action, by), [run.id for run in runs])
            return len(runs) if again else new
        case "reprioritize":
            priority = wanted.priority or 0
            some = [run for run in runs if run.priority != priority] if again else runs
            new = await to_all(store, Deed("reprioritize", by, priority), [run.id for run in some])
            return new + len(runs) - len(some)
        case "fork":
            new = await to_all(store, Deed("fork", by, forks=forks_of(runs, key, by)), [run.id for run in runs])
            return len(runs) if again else new
        case "retry_failures":
            if again:  # some may be queued by now, and paused yet
                runs = [run for run in there if wanted.may(run)]
            return await all_failures_retried(store, runs, by, again=again)
        case "delete":
            done = sum([await _deleted(store, run) for run in runs])
        case _:
            allow = tuple(int(state) for state in wanted.states)
            done = await to_all(store, Deed("replay", allow=allow), [run.id for run in runs])
    return done if not again else len(ids) - sum(wanted.fits(run) for run in await store.briefs(ids))


async def _deleted(store: Store, run: RunRecord) -> bool:
    await delete_tree(store, run)
    return not await store.briefs([run.id])
