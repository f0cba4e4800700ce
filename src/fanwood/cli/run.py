"""`fanwood run`: one run, from its input to its output."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
import msgspec

from fanwood.app import Fanwood, unknown_task
from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Exit
from fanwood.cli.inputs import read_json, read_metadata
from fanwood.cli.loading import load_app
from fanwood.cli.progress import Progress, follow
from fanwood.cli.waiting import Waiting
from fanwood.codec import codec_for
from fanwood.errors import FailedTaskRunExceptionGroup, TaskRunError, UnknownTaskError
from fanwood.ids import id_bytes
from fanwood.model.states import RunState
from fanwood.sdk.declaring.budget import limits_of
from fanwood.sdk.declaring.options import TaskPolicy, TriggerWorkflowOptions
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.declaring.spec import TaskSpec
from fanwood.sdk.tasks.task import Standalone

if TYPE_CHECKING:
    from fanwood.model.commands import Ended, TaskInfo
    from fanwood.sdk.tasks.task import Runnable

EXIT_CODES = {
    RunState.COMPLETED: Exit.DONE,
    RunState.FAILED: Exit.FAILED,
    RunState.CANCELLED: Exit.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for."""

    task: str
    common: Common
    input_: str
    watch: bool
    target: str | None
    no_wait: bool
    priority: int | None
    idempotency_key: str | None
    metadata: str | None
    budget: tuple[str, ...]
    timeout: float | None


def run(task: str, common: Common, **options: Any) -> None:
    request = Request(task, common, **options)
    value = read_json(request.input_, "--input")
    how = TriggerWorkflowOptions(
        priority=request.priority,
        idempotency_key=request.idempotency_key,
        additional_metadata=read_metadata(request.metadata),
        budget=limits_of(request.budget) if request.budget else None,
    )
    output.logged_warnings()
    app, runnable = _declared(request, request.target) if request.target else _published(request)
    with app:
        if request.target and not request.no_wait:
            _serve_here(app, runnable.name)
        ref = runnable.run_no_wait(value, how)
        if request.no_wait:
            output.print_json({"id": ref.id, "task": runnable.name}) if common.as_json else click.echo(ref.id)
            return
        try:
            output.note(f"run {ref.id}")
            code = _wait(app, id_bytes(ref.id), runnable.name, request)
        except KeyboardInterrupt:
            output.note(
                f"Not waited for any more; the run goes on where there is a worker. To end it: "
                f"fanwood runs cancel {ref.id}"
            )
            raise
    raise SystemExit(code)


# --- finding the task ------------------------------------------------------------------------------------------------


def _declared(request: Request, target: str) -> tuple[Fanwood, Runnable[Any, Any]]:
    """The task, from the code."""
    app = load_app(target)
    if request.common.url is not None:
        app.settings = replace(app.settings, database_url=request.common.url)
    if request.no_wait:
        app.local_worker = False
    return app, app.find(request.task)


def _serve_here(app: Fanwood, task: str) -> None:
    """What nobody else serves is executed here, also with a server for a database, where a script is no worker."""
    engine = app.engine()
    if app.local_worker is None and not engine.call(lambda store: store.served(engine.worker_id, task)).result():
        app.local_worker = "own"


def _published(request: Request) -> tuple[Fanwood, Runnable[Any, Any]]:
    """The task, from what workers have said of it in the store."""
    task, common = request.task, request.common
    tasks = {info.name: info for info in looking.look(common, lambda store: store.tasks()) if info.kind != "step"}
    namespace = common.settings().namespace
    info = tasks.get(f"{namespace}/{task}") or tasks.get(task)
    if info is None:
        hint = "" if tasks else " No worker has served any on this database yet; --app module:object runs it here."
        raise UnknownTaskError(unknown_task(task, tasks) + hint)
    app = Fanwood(common.url, local_worker=False)
    return app, Standalone(app, _spec(info))


def _spec(info: TaskInfo) -> TaskSpec:
    anything = codec_for(Any)
    policy = TaskPolicy(
        default_priority=info.priority,
        schedule_timeout=None if info.schedule_timeout is None else info.schedule_timeout / 1e6,
        default_additional_metadata=msgspec.json.decode(info.metadata) if info.metadata else {},
        description=info.description,
    )
    return TaskSpec(info.name, _elsewhere, True, 1, anything, anything, policy, info.kind)


async def _elsewhere(_: Any) -> None:
    raise AssertionError("the code of this task is not here")


# --- waiting for it --------------------------------------------------------------------------------------------------


def _wait(app: Fanwood, run_id: bytes, task: str, request: Request) -> int:
    waiting, timeout, common = Waiting(app, run_id, task), request.timeout, request.common
    if request.watch:
        with Progress(quiet=common.as_json) as progress:
            ended = follow(app, run_id, waiting, progress, timeout=timeout)
    else:
        ended = waiting.wait(timeout)
    engine = app.engine()
    if common.as_json:
        record = engine.call(lambda store: store.get(run_id)).result()
        output.print_json(looking.whole_run_json(record, engine.store.now()))
    if not ended:
        output.note(f"{text.clean(task)} has not ended within {timeout:g} s; it goes on where there is a worker")
        return Exit.WAIT_TIMED_OUT
    if not common.as_json:
        _print_end(waiting.ended, run_id, task)
    return EXIT_CODES[waiting.ended.state]


def _print_end(ended: Ended, run_id: bytes, task: str) -> None:
    if ended.state is RunState.COMPLETED:
        data = (ended.output or "null").encode()
        click.echo(text.clean_block(msgspec.json.format(data, indent=2).decode()) if output.on_terminal() else data)
        return
    error = error_of(ended, run_id, ended.task or task)
    errors: list[TaskRunError] = list(error.exceptions) if isinstance(error, FailedTaskRunExceptionGroup) else [error]  # pyright: ignore[reportAssignmentType]  # a flat group
    sys.stdout.flush()
    for each in errors:
        output.note(f"error: {each}")
        if each.traceback:
            output.note(each.traceback.rstrip())
