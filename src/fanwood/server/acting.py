"""The routes that do something: start, cancel, retry, replay; and actions on all runs that a filter lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from starlette.responses import Response

from fanwood.codec.schemas import faults
from fanwood.errors import RunNotFoundError, UsageError, WaitTimeoutError
from fanwood.ids import id_bytes, id_text
from fanwood.lens.briefs import run_brief
from fanwood.model.actions import SPACE
from fanwood.model.states import RunKind
from fanwood.sdk.declaring.options import metadata_json
from fanwood.server import previews
from fanwood.server.answers import Acted, Preview, Started
from fanwood.server.calls import Call, Route
from fanwood.server.choosing import Action, ActionFilter, Wanted, is_in
from fanwood.server.deeds import Begun, Piece, Tally
from fanwood.server.identity import Role
from fanwood.server.problems import Refusal, not_found
from fanwood.server.queries import Text
from fanwood.server.reading import API
from fanwood.server.starting import BudgetBody, start
from fanwood.store import surgery

if TYPE_CHECKING:
    from fanwood.model.commands import TaskInfo
    from fanwood.model.records import RunRecord
    from fanwood.server.deeds import Deeds
    from fanwood.store.store import Store

PATIENCE = 10.0
"""Seconds for which an action on one run is waited for."""
LARGEST = 16 * 1024 * 1024
"""Bytes of a request that starts a run; how large its input may be, the settings say."""


Priority = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is sent."""


class StartBody(Body, frozen=True):
    """A run to be started. `key`: an idempotency key; whoever gives it again gets the run that has it."""

    input: Any = msgspec.UNSET
    metadata: dict[str, Any] | None = None
    priority: Priority | None = None
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    budget: BudgetBody | None = None


class ActionBody(Body, frozen=True):
    """Either what is to be seen before it is done (`action`, `filter`, and `dry_run`: true); or the token of that.
    `priority`: of what is reprioritized."""

    action: Action | None = None
    priority: Priority | None = None
    filter: ActionFilter = ActionFilter()
    dry_run: bool = False
    token: Text | None = None


class PatchBody(Body, frozen=True):
    """What the run is to have returned. Nothing checks that it fits its task."""

    output: Any


class PriorityBody(Body, frozen=True):
    """Higher goes first."""

    priority: Priority


class NoBody(Body, frozen=True):
    """{}"""


def namespace_of(call: Call) -> str:
    """In which one somebody may act."""
    return call.identity.namespace or call.site.settings.namespace


# --- start -----------------------------------------------------------------------------------------------------------


async def start_run(call: Call) -> Started:
    """Start a run of a task."""
    body: StartBody = call.body
    task = await _task(call)
    given: Any = {} if body.input is msgspec.UNSET else body.input
    size = len(msgspec.json.encode(given))
    if size > call.site.settings.max_payload_bytes:
        raise Refusal(
            413, "payload_too_large", f"The input is larger than {call.site.settings.max_payload_bytes:,} bytes"
        )
    if task.schema is not None and (wrong := faults(given, msgspec.json.decode(task.schema))):
        raise Refusal(
            422, "input_does_not_fit", f"The input does not fit what {task.name} takes", "; ".join(wrong), errors=wrong
        )
    default: dict[str, Any] = msgspec.json.decode(task.metadata) if task.metadata else {}
    metadata = metadata_json({**default, **body.metadata}, "metadata") if body.metadata else None

    async def begin(deeds: Deeds) -> bytes:
        app = deeds.app
        id_ = await start(
            app.engine(), app.ids, task, given,
            metadata=metadata, priority=body.priority, key=body.key, budget=body.budget,
        )  # fmt: skip
        begun = Begun(id_text(id_), task.name, call.identity.name, namespace_of(call))
        await deeds.start.aio_run_no_wait(begun, additional_metadata=_about(call))
        return id_

    return Started(id_text(await call.site.hands.do(begin)))


async def _task(call: Call) -> TaskInfo:
    name, namespace = call.path["name"], namespace_of(call)
    known = {task.name: task for task in await call.site.primary.ask(_tasks)}
    task = known.get(name)
    if task is None or not is_in(namespace, name) or is_in(SPACE, name):
        raise Refusal(404, "unknown_task", "There is no such task, or it isn't yours to see")
    if task.kind not in ("task", "workflow"):
        raise Refusal(422, "not_startable", f"{name} is a step: the workflow is started, and starts it")
    return task


async def _tasks(store: Store) -> list[TaskInfo]:
    return await store.tasks()


# --- one run ---------------------------------------------------------------------------------------------------------


async def cancel(call: Call) -> Acted:
    """Cancel a run, and everything below it."""
    return await _one(call, "cancel")


async def retry(call: Call) -> Acted:
    """Run again what failed or was cancelled. Of a root: retry what failed of its tree."""
    return await _one(call, "retry")


async def replay(call: Call) -> Acted:
    """Run again what has ended, however it did."""
    return await _one(call, "replay")


async def retry_failures(call: Call) -> Acted:
    """Run again what failed of a run that has ended and all below it, also where what is above it has completed."""
    return await _one(call, "retry_failures")


async def pause(call: Call) -> Acted:
    """Nothing of a run, and of what is below it, begins any more, until it is resumed."""
    return await _one(call, "pause")


async def resume(call: Call) -> Acted:
    """Take back the pause of a run."""
    return await _one(call, "resume")


async def reprioritize(call: Call) -> Acted:
    """Give a run, and all below it, another priority; also what is spawned below it later."""
    return await _one(call, "reprioritize", call.body.priority)


async def wake(call: Call) -> Acted:
    """End a sleep now: what sleeps goes on."""
    record = await _run(call)
    if record.kind is not RunKind.SLEEP:
        raise Refusal(
            409, "wrong_state", "That is no sleep", "Only sleeps, which are children of what sleeps, are woken."
        )

    async def act(deeds: Deeds) -> bool:
        return await deeds.ask(lambda store: store.wake(record.id), changes=True)

    return await _acted(call, record, done=await call.site.hands.do(act))


async def patch(call: Call) -> Acted:
    """Give a run its output by hand. A line in its log keeps who did it, and what was there before."""
    body: PatchBody = call.body
    record = await run_at(call, id_bytes(call.path["id"]))
    text = msgspec.json.encode(body.output).decode()
    if len(text.encode()) > call.site.settings.max_payload_bytes:
        most = call.site.settings.max_payload_bytes
        raise Refusal(413, "payload_too_large", f"The output is larger than {most:,} bytes")

    async def act(deeds: Deeds) -> None:
        await deeds.ask(lambda store: surgery.patched(store, record.id, text, call.identity.name), changes=True)

    try:
        await call.site.hands.do(act)
    except UsageError as error:
        raise Refusal(409, "wrong_state", str(error)) from None
    now = await _read(call, record.id)
    return Acted(id_text(record.id), now.state.name.lower(), done=True)


async def _one(call: Call, action: Action, priority: int | None = None) -> Acted:
    record = await _run(call)
    id_ = id_text(record.id)
    moment = record.created_at if record.finished_at is None else record.finished_at
    wanted = Wanted(action, ActionFilter(ids=(id_,)), namespace_of(call), moment + 1, priority)
    if action == "cancel" and is_in(SPACE, record.task):
        wanted = msgspec.structs.replace(wanted, namespace=SPACE)
    elif action != "cancel" and not wanted.fits(record):
        raise Refusal(409, "wrong_state", f"The run is {record.state.name}", _why_not(action, record))

    async def act(deeds: Deeds) -> tuple[str, Tally | None]:
        ref = await deeds.piece.aio_run_no_wait(
            Piece(wanted, (id_,), call.identity.name), additional_metadata=_about(call)
        )
        try:
            return ref.id, await ref.aio_result(PATIENCE)
        except WaitTimeoutError:
            return ref.id, None

    action_id, tally = await call.site.hands.do(act)
    return await _acted(
        call, record, done=tally is not None and tally.done > 0, pending=tally is None, action=action_id
    )


async def _acted(call: Call, record: RunRecord, *, done: bool, pending: bool = False, action: str = "") -> Acted:
    """What is to be seen of it at once."""
    now = await _read(call, record.id)
    await call.site.reader.ask(lambda _: _touched(call, record))
    call.site.live.hurry()
    return Acted(id_text(record.id), now.state.name.lower(), done, pending, action)


async def _touched(call: Call, before: RunRecord) -> None:
    """On the reader's thread: who looks at its tree is to see that as well."""
    call.site.trees.touched(before)


def _why_not(action: Action, record: RunRecord) -> str:
    if action in ("pause", "reprioritize"):
        return f"Only what has not ended is {'paused' if action == 'pause' else 'reprioritized'}."
    if record.state.is_terminal:
        return "Only what failed or was cancelled is retried; `replay` also runs again what completed."
    return "Only what has ended can be run again: cancel it first."


async def _run(call: Call) -> RunRecord:
    """The run that is meant; of another namespace it is not there. One's own actions are there, to be cancelled."""
    record, namespace = await _read(call, id_bytes(call.path["id"])), namespace_of(call)
    if is_in(namespace, record.task):
        return record
    if is_in(SPACE, record.task) and _meta(record).get("namespace") == namespace:
        return record
    raise not_found()


async def run_at(call: Call, id_: bytes) -> RunRecord:
    """That one, if it is there for who calls. Actions are not: what they are to do, and to whom, was allowed when they
    were confirmed, so nobody may give them another input or output."""
    record = await _read(call, id_)
    if is_in(SPACE, record.task) or not is_in(namespace_of(call), record.task):
        raise not_found()
    return record


async def _read(call: Call, id_: bytes) -> RunRecord:
    """As it is now: never by a replica, which may be behind."""
    return await call.site.primary.ask(lambda store: store.get(id_))


def _about(call: Call) -> dict[str, str]:
    return {"by": call.identity.name, "namespace": namespace_of(call)}


def _meta(record: RunRecord) -> dict[str, Any]:
    return msgspec.json.decode(record.metadata) if record.metadata else {}


# --- many runs -------------------------------------------------------------------------------------------------------


async def act(call: Call) -> Preview | Response:
    """See what an action on all that a filter lets through would be about, or confirm that."""
    body: ActionBody = call.body
    if body.token is not None:
        if body.action is not None or body.priority is not None:
            raise Refusal(422, "bad_body", "A token confirms what was previewed: send nothing beside it")
        return await _confirmed(call, body.token)
    if body.action is None:
        raise Refusal(422, "bad_body", "Neither an action nor a token was sent")
    if not body.dry_run:
        raise Refusal(
            422, "preview_first", "An action is previewed first (`dry_run`: true), and confirmed by its token"
        )
    if (body.action == "reprioritize") != (body.priority is not None):
        raise Refusal(422, "bad_body", "`priority` is for `reprioritize`, which needs one")
    return await _previewed(call, body.action, body.filter, body.priority)


async def _previewed(call: Call, action: Action, filter_: ActionFilter, priority: int | None) -> Preview:
    _check(call, action, filter_)

    async def ask(store: Store) -> tuple[Wanted, previews.Seen]:
        for root in filter(None, (filter_.tree, filter_.parent)):
            record = await store.get(id_bytes(root))
            if not is_in(namespace_of(call), record.task):
                raise RunNotFoundError(root)
        wanted = Wanted(action, filter_, namespace_of(call), await store.moment() + 1, priority)
        return wanted, await previews.look(store, wanted)

    wanted, seen = await call.site.primary.ask(ask)
    token = call.site.previews.keep(call.identity, wanted, seen)
    return Preview(seen.runs, token, seen.at_least, tuple(run_brief(run) for run in seen.sample))


def _check(call: Call, action: Action, filter_: ActionFilter) -> None:
    if action == "delete" and call.identity.role < Role.ADMIN:
        raise Refusal(403, "not_allowed", "Deleting is for admins")
    if not filter_.is_narrowed:
        raise Refusal(422, "no_filter", "A filter must say which runs: of all runs nothing is done at once")
    if sum(map(bool, (filter_.tree, filter_.parent, filter_.ids))) > 1:
        raise Refusal(422, "bad_filter", "`tree`, `parent` and `ids` exclude each other")
    for id_ in (*filter_.ids, *filter(None, (filter_.tree, filter_.parent))):
        id_bytes(id_)
    wanted = Wanted(action, filter_, "")
    if not wanted.states:
        raise Refusal(422, "bad_filter", f"There is nothing to {action} in that state")


async def _confirmed(call: Call, token: str) -> Response:
    deed = call.site.previews.find(call.identity, token)
    if deed is None:
        raise Refusal(
            410,
            "token_unknown",
            "There is no such preview, or it is too old",
            "Preview the action again, and confirm that.",
        )

    async def begin(deeds: Deeds) -> str:
        ref = await deeds.bulk.aio_run_no_wait(deed, idempotency_key=token, additional_metadata=_about(call))
        return ref.id

    started = Started(await call.site.hands.do(begin))
    return Response(
        msgspec.json.encode(started), 202, media_type="application/json", headers={"cache-control": "no-store"}
    )


_START, _RUN = f"{API}/tasks/{{name:path}}/runs", f"{API}/runs/{{id}}"
ROUTES = (
    Route(
        "POST",
        f"{API}/tasks/{{name:path}}/runs",
        Role.OPERATOR,
        start_run,
        Started,
        body=StartBody,
        largest=LARGEST,
        status=201,
    ),
    Route("POST", f"{_RUN}/cancel", Role.OPERATOR, cancel, Acted, body=NoBody),
    Route("POST", f"{_RUN}/retry", Role.OPERATOR, retry, Acted, body=NoBody),
    Route("POST", f"{_RUN}/replay", Role.OPERATOR, replay, Acted, body=NoBody),
    Route("POST", f"{_RUN}/retry_failures", Role.OPERATOR, retry_failures, Acted, body=NoBody),
    Route("POST", f"{_RUN}/pause", Role.OPERATOR, pause, Acted, body=NoBody),
    Route("POST", f"{_RUN}/resume", Role.OPERATOR, resume, Acted, body=NoBody),
    Route("POST", f"{_RUN}/reprioritize", Role.OPERATOR, reprioritize, Acted, body=PriorityBody),
    Route("POST", f"{_RUN}/wake", Role.OPERATOR, wake, Acted, body=NoBody),
    Route("POST", f"{_RUN}/patch", Role.OPERATOR, patch, Acted, body=PatchBody, largest=LARGEST),
    Route("POST", f"{API}/actions", Role.OPERATOR, act, Preview, body=ActionBody),
)
