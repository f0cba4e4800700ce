"""`fanwood runs pause`, `resume`, `reprioritize` and `patch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.acting import acts, named, named_runs, user
from fanwood.cli.base import Command, Common, Sentence, common
from fanwood.cli.engines import judged
from fanwood.cli.filtered import Deed, do_to_all
from fanwood.cli.finding import find, run_ids
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


@acts(
    "pause",
    "JSON: {id, status, paused}; of several runs: {runs: [{id, status}], paused}. `paused` counts those that were\n"
    "  not paused before",
    click.option("--by", help="Who wants it, for those who look. Default: you."),
)
def pause(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, by: str | None) -> None:
    """Pause runs and everything below them. Once this returns, nothing of them begins, on any worker.

    What executes goes on; sleeps end, and time limits count. `fanwood runs resume` takes it back.
    """
    if not runs:
        do_to_all(common, wanted, Deed("pause", "pause", "paused", "Paused", by or user()), yes=yes)
        return
    found = named_runs(common, runs, wanted, "pause")

    async def act(store: Store) -> Done:
        changed = sum([await surgery.paused(store, run.id, by or user()) for run in found])
        return Done([await store.get(run.id) for run in found], changed)

    _say(common, looking.look(common, act), runs, "paused", "Paused")


@acts(
    "resume",
    "JSON: {id, status, resumed}; of several runs: {runs: [{id, status}], resumed}. `resumed` counts those that\n"
    "  were paused",
)
def resume(common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool) -> None:
    """Take back the pauses of runs: what waits for that is queued, unless something else pauses it.

    Of a large tree a part is queued then; whichever worker or client there is does the rest.
    """
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


@acts(
    "reprioritize",
    "JSON: {id, status, reprioritized}; of several runs: {runs: [{id, status}], reprioritized}. `reprioritized`\n"
    "  counts those that had another priority",
    click.option(
        "--priority", type=click.IntRange(-(1 << 31), (1 << 31) - 1), required=True, help="Higher goes first."
    ),
    click.option("--by", help="Who wants it, for those who look. Default: you."),
    example=" --priority 10",
)
def reprioritize(
    common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool, priority: int, by: str | None
) -> None:
    """Give runs, and everything below them, another priority; also what is spawned below them later.

    Of a large tree a part hears of it then; whichever worker or client there is does the rest.
    """
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


@click.command(
    name="patch",
    cls=Command,
    epilog="Examples:\n  fanwood runs patch 6c466a1c '{\"pages\": 12}'\n  fanwood runs patch 6c466a1c null --by ann\n\n"
    "JSON: {id, status, was}",
)
@click.argument("run", shell_complete=run_ids)
@click.argument("value", metavar="JSON")
@click.option("--by", help="Who wants it, for those who look. Default: you.")
@common
def patch(run: str, value: str, by: str | None, common: Common) -> None:
    """Give a run its output by hand: it has completed then, whatever became of it.

    One that has not ended ends with it, and all below it is cancelled. One that has completed gets another output only
    if its parent has ended. A line in its log keeps who did it, and what was there before. Nothing checks here
    that the output fits what the task returns.
    """
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
