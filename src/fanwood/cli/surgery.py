"""`fanwood runs pause`, `resume`, `reprioritize` and `patch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.acting import named, named_runs, user
from fanwood.cli.base import Common, Sentence
from fanwood.cli.engines import judged
from fanwood.cli.filtered import Deed, do_to_all
from fanwood.cli.finding import find
from fanwood.cli.selecting import Wanted
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.store import surgery

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store


class Done(NamedTuple):
    """The runs as they are now; to how many of them it was done; whether the rest follows by itself."""

    runs: list[RunRecord]
    changed: int
    served: bool = True


_WHY = {
    "paused": "they are paused already",
    "resumed": "none of these is paused itself",
    "reprioritized": "they have that priority already",
}


def pause(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, by: str | None) -> None:
    if not runs:
        do_to_all(common, wanted, Deed("pause", "pause", "paused", "Paused", by or user()), yes=yes)
        return
    found = named_runs(common, runs, wanted, "pause")

    async def act(store: Store) -> Done:
        changed = sum([await surgery.paused(store, run.id, by or user()) for run in found])
        return Done([await store.get(run.id) for run in found], changed)

    _say(common, looking.look(common, act), runs, "paused", "Paused")


def resume(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    if not runs:
        do_to_all(common, wanted, Deed("resume", "resume", "resumed", "Resumed", user()), yes=yes)
        return
    found = named_runs(common, runs, wanted, "resume")

    async def act(store: Store) -> Done:
        return await _followed(store, found, sum([await surgery.resumed(store, run.id) for run in found]))

    done = looking.look(common, act)
    _say(common, done, runs, "resumed", "Resumed")
    if not done.served:
        output.warn("not all of it is queued yet: the rest follows once a worker or client is there")


def reprioritize(
    common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, priority: int, by: str | None
) -> None:
    if not runs:
        deed = Deed("reprioritize", "reprioritize", "reprioritized", "Reprioritized", by or user(), priority)
        do_to_all(common, wanted, deed, yes=yes)
        return
    found = named_runs(common, runs, wanted, "reprioritize")

    async def act(store: Store) -> Done:
        had = [await surgery.reprioritized(store, run.id, priority, by or user()) for run in found]
        return await _followed(store, found, sum(before != priority for before in had))

    done = looking.look(common, act)
    _say(common, done, runs, "reprioritized", "Reprioritized")
    if not done.served:
        output.warn("not all of it has heard yet: the rest follows once a worker or client is there")


async def _followed(store: Store, found: list[RunRecord], changed: int) -> Done:
    more = any([(await store.sweep(run.id)).more for run in found])
    served = not more or any(judged(worker, store.now()).live for worker in await store.workers())
    return Done([await store.get(run.id) for run in found], changed, served)


def _say(common: Common, done: Done, runs: tuple[str, ...], key: str, past: str) -> None:
    if common.as_json:
        about: list[dict[str, Any]] = [{"id": id_text(run.id), "status": run.state.name} for run in done.runs]
        output.print_json({**(about[0] if len(runs) == 1 else {"runs": about}), key: done.changed})
    elif done.changed:
        output.print_line(f"{past} {text.many(done.changed, 'run')} with all below: {named(done.runs)}")
    else:
        output.print_line(f"Nothing to do: {_WHY[key] if done.runs else 'there are none'}")


def patch(run: str, value: str, by: str | None, common: Common) -> None:
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise Sentence(f"The output must be JSON: {error}") from None

    async def act(store: Store) -> tuple[RunState, RunRecord]:
        id_ = await find(store, run, common.settings().namespace)
        return await surgery.patched(store, id_, value, by or user()), await store.get(id_)

    was, record = looking.look(common, act)
    if common.as_json:
        output.print_json({"id": id_text(record.id), "status": record.state.name, "was": was.name})
    else:
        output.print_line(f"Patched: {named([record])} was {was.name}, and is {record.state.name}")
