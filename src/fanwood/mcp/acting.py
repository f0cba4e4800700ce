"""The tools that change something, for who was allowed to. What is done is kept, as what the dashboard does is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from fanwood.codec.schemas import faults
from fanwood.errors import PayloadTooLargeError, UnknownTaskError, UsageError, WaitTimeoutError
from fanwood.ids import id_text, short_text
from fanwood.mcp.answers import marked
from fanwood.mcp.desk import PATIENCE, Arguments, Desk, McpTool
from fanwood.model.actions import SPACE
from fanwood.sdk.declaring.options import metadata_json
from fanwood.server.choosing import Action, ActionFilter, Wanted, is_in
from fanwood.server.deeds import Begun, Deeds, Piece, Tally
from fanwood.server.starting import BudgetBody, start
from fanwood.store.forked import forked, task_of_input

if TYPE_CHECKING:
    from fanwood.model.commands import TaskInfo
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

BY = "mcp"
"""Who it was, as actions say it."""


Key = Annotated[
    str, msgspec.Meta(min_length=1, max_length=255, description="Given again, it leads to the run that has it.")
]


class StartRun(Arguments, frozen=True):
    """What is to be run."""

    task: Annotated[str, msgspec.Meta(max_length=1000, description="The whole name of a task, as `tasks` lists it.")]
    input: Annotated[Any, msgspec.Meta(description="What the task takes, as JSON.")] = msgspec.UNSET
    metadata: dict[str, Any] | None = None
    key: Key | None = None
    budget: Annotated[BudgetBody, msgspec.Meta(description="What it and all below it may use.")] | None = None


class ActOn(Arguments, frozen=True):
    """Which run. It must be named: the newest is not meant by chance."""

    run: Annotated[
        str,
        msgspec.Meta(pattern="^[0-9a-fA-F-]{4,40}$", description="Its id, or as many digits of its end as are unique."),
    ]


At = Annotated[
    str,
    msgspec.Meta(
        pattern="^[0-9a-fA-F-]{4,40}$",
        description="A run (or step) below, to be done again with what was asked for after it.",
    ),
]


class ForkRun(ActOn, frozen=True):
    """Of which run, and what is to be different."""

    at: At | None = None
    input: Annotated[Any, msgspec.Meta(description="Another input, as JSON: of `at`, or else of the new run.")] = (
        msgspec.UNSET
    )
    budget: Annotated[BudgetBody, msgspec.Meta(description="What it and all below it may use.")] | None = None


async def start_run(desk: Desk, asked: StartRun) -> str:
    assert desk.hands is not None
    task = await _task(desk, asked.task)
    given: Any = {} if asked.input is msgspec.UNSET else asked.input
    size, most = len(msgspec.json.encode(given)), desk.settings.max_payload_bytes
    if size > most:
        raise PayloadTooLargeError("the input", size, most)
    if task.schema is not None and (wrong := faults(given, msgspec.json.decode(task.schema))):
        raise UsageError(f"The input does not fit what {task.name} takes: {'; '.join(wrong)}")
    default: dict[str, Any] = msgspec.json.decode(task.metadata) if task.metadata else {}
    metadata = metadata_json({**default, **asked.metadata}, "metadata") if asked.metadata else None

    async def begin(deeds: Deeds) -> bytes:
        id_ = await start(
            deeds.app.engine(), deeds.app.ids, task, given, metadata=metadata, key=asked.key, budget=asked.budget
        )
        begun = Begun(id_text(id_), task.name, BY, desk.settings.namespace)
        await deeds.start.aio_run_no_wait(begun, additional_metadata=_about(desk))
        return id_

    run_id = await desk.hands.do(begin)
    return marked(f"started {id_text(run_id)}; tree_summary({short_text(run_id)}) shows how it goes")


async def _task(desk: Desk, name: str) -> TaskInfo:
    async def ask(store: Store) -> list[TaskInfo]:
        return await store.tasks()

    known = {task.name: task for task in await desk.ask(ask)}
    task = known.get(name)
    if task is None or is_in(SPACE, name):
        raise UnknownTaskError(f"There is no task {name}: `tasks` lists those that there are")
    if task.kind not in ("task", "workflow"):
        raise UsageError(f"{name} is a step: start its workflow")
    return task


async def cancel_run(desk: Desk, asked: ActOn) -> str:
    return await _act(desk, asked.run, "cancel")


async def retry_run(desk: Desk, asked: ActOn) -> str:
    return await _act(desk, asked.run, "retry")


async def _act(desk: Desk, given: str, action: Action) -> str:
    assert desk.hands is not None

    async def find(store: Store) -> RunRecord:
        return await store.get(await desk.find(store, given))

    record = await desk.ask(find)
    id_ = id_text(record.id)
    moment = record.created_at if record.finished_at is None else record.finished_at
    wanted = Wanted(action, ActionFilter(ids=(id_,)), desk.settings.namespace, moment + 1)
    if not wanted.fits(record):
        only = "failed or was cancelled" if action == "retry" else "has not ended"
        raise UsageError(f"{id_} is {record.state.name}, and there is nothing to {action}: only what {only}")

    async def act(deeds: Deeds) -> Tally | None:
        ref = await deeds.piece.aio_run_no_wait(Piece(wanted, (id_,), BY), additional_metadata=_about(desk))
        try:
            return await ref.aio_result(PATIENCE)
        except WaitTimeoutError:
            return None

    tally = await desk.hands.do(act)
    now = (await desk.ask(find)).state.name
    if tally is None:
        return marked(f"{action} of {id_} was begun and goes on; the run is {now}")
    return marked(f"{action} of {id_}: {'done' if tally.done else 'it had changed, and nothing was done'}; it is {now}")


async def fork_run(desk: Desk, asked: ForkRun) -> str:
    assert desk.hands is not None
    at = asked.at

    async def find(store: Store) -> tuple[RunRecord, RunRecord | None]:
        run = await store.get(await desk.find(store, asked.run))
        return run, None if at is None else await store.get(await desk.find(store, at))

    run, place = await desk.ask(find)
    given = None if asked.input is msgspec.UNSET else msgspec.json.encode(asked.input).decode()
    if given is not None:
        size, most = len(given.encode()), desk.settings.max_payload_bytes
        if size > most:
            raise PayloadTooLargeError("the input", size, most)
        task = await _task(desk, task_of_input(place or run, asked.input))
        if task.schema is not None and (wrong := faults(asked.input, msgspec.json.decode(task.schema))):
            raise UsageError(f"The input does not fit what {task.name} takes: {'; '.join(wrong)}")
    part = None if asked.budget is None else asked.budget.budget().part

    async def act(deeds: Deeds) -> bytes:
        new = deeds.app.ids.new_id()
        await deeds.ask(lambda store: forked(store, run, new, place, given, BY, part), changes=True)
        return new

    made = await desk.hands.do(act)
    where = "" if place is None else f" at {id_text(place.id)}"
    return marked(
        f"forked {id_text(run.id)}{where}: {id_text(made)}; tree_summary({short_text(made)}) shows how it goes"
    )


def _about(desk: Desk) -> dict[str, str]:
    return {"by": BY, "namespace": desk.settings.namespace}


TOOLS = (
    McpTool("start_run", "Starts a run of a task, and returns its id.", StartRun, start_run, changes=True),
    McpTool("cancel_run", "Cancels a run, and everything below it.", ActOn, cancel_run, changes=True, destroys=True),
    McpTool(
        "retry_run", "Runs again what failed or was cancelled; children that completed are not.", ActOn, retry_run,
        changes=True,
    ),
    McpTool(
        "fork_run",
        "Makes a new run of one that has ended: it takes what that had finished, and runs the rest; with another "
        "input, or again from a run below on, if wanted.",
        ForkRun, fork_run, changes=True,
    ),
)  # fmt: skip
