"""The route that tells what was done with runs, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from fanwood.ids import id_text
from fanwood.lens.errors import brief
from fanwood.model.actions import BULK, SPACE, START
from fanwood.model.records import RunFilter
from fanwood.sdk.listing import collect
from fanwood.server.acting import namespace_of
from fanwood.server.answers import ActionsView, ActionView
from fanwood.server.calls import API, Call, Route
from fanwood.server.choosing import ActionFilter
from fanwood.server.deeds import Begun, Bulk, Piece, Tally
from fanwood.server.identity import Role
from fanwood.server.problems import Refusal
from fanwood.server.queries import Query, Text
from fanwood.store.progress import progress_of

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store


class ActionsQuery(Query, frozen=True):
    """Which page."""

    after: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


async def actions(call: Call) -> ActionsView:
    """What was done with runs, by whom, and how far it is. What a server that died has left is gone on with."""
    query: ActionsQuery = call.query

    async def ask(store: Store) -> ActionsView:
        filter_ = RunFilter(prefix=f"{SPACE}/", limit=query.limit, metadata=_only(call))
        if query.after is not None:
            filter_ = msgspec.structs.replace(filter_, after=_place(query.after))
        listed = await collect(store.listing, filter_)
        found = tuple([await _told(store, run) for run in listed.runs])
        after = None if listed.after is None else f"{listed.after[0]}.{listed.after[1].hex()}"
        return ActionsView(store.now(), found, after)

    view = await call.site.primary.ask(ask)
    if not call.site.options.read_only and any(each.finished_at is None for each in view.actions):
        await call.site.hands.go_on()
    return view


def _place(after: str) -> tuple[int, bytes]:
    at, _, id_ = after.partition(".")
    try:
        return int(at), bytes.fromhex(id_)
    except ValueError:
        raise Refusal(400, "bad_query", "`after` is what the page before said") from None


def _only(call: Call) -> tuple[tuple[str, str], ...]:
    namespace = namespace_of(call)
    return (("namespace", msgspec.json.encode(namespace).decode()),) if namespace else ()


async def _told(store: Store, run: RunRecord) -> ActionView:
    """Also one that somebody made, or gave another output, by other means: it hides no others."""
    try:
        return await _action(store, run)
    except msgspec.DecodeError:
        return ActionView(id_text(run.id), "unknown", "", run.state.name.lower(), run.created_at, run.finished_at)


async def _action(store: Store, run: RunRecord) -> ActionView:
    whole = await store.get(run.id)
    if run.task == f"{SPACE}/{START}":
        return _start(whole)
    deed = _bulk(whole) if run.task == f"{SPACE}/{BULK}" else _piece(whole)
    said = await progress_of(store, run.id)
    tally = msgspec.json.decode(whole.output, type=Tally) if whole.output else None
    return ActionView(
        id=id_text(run.id),
        action=deed.wanted.action,
        by=deed.by,
        state=run.state.name.lower(),
        created_at=run.created_at,
        finished_at=run.finished_at,
        namespace=deed.wanted.namespace,
        filter=deed.wanted.filter,
        count=deed.count,
        at_least=deed.at_least,
        seen=int(said.done) if said else 0,
        priority=deed.wanted.priority,
        done=tally.done if tally else None,
        left=tally.left if tally else None,
        error=brief(run.error) if run.error else None,
    )


def _start(run: RunRecord) -> ActionView:
    begun = msgspec.json.decode(run.input or "{}", type=Begun)
    return ActionView(
        id=id_text(run.id), action="start", by=begun.by, state="completed", created_at=run.created_at,
        finished_at=run.created_at, namespace=begun.namespace, filter=ActionFilter(task=begun.task, ids=(begun.id,)),
        count=1, seen=1, done=1,
    )  # fmt: skip


def _bulk(run: RunRecord) -> Bulk:
    return msgspec.json.decode(run.input or "{}", type=Bulk)


def _piece(run: RunRecord) -> Bulk:
    piece = msgspec.json.decode(run.input or "{}", type=Piece)
    return Bulk(piece.wanted, piece.by, len(piece.ids))


ROUTES = (Route("GET", f"{API}/actions", Role.VIEWER, actions, ActionsView, ActionsQuery),)
