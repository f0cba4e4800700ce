"""The routes that show."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from fanwood.ids import id_bytes, id_text
from fanwood.lens.views import (
    ChildrenView,
    Counts,
    LogsPage,
    RunBrief,
    RunDetail,
    RunsPage,
    StoreView,
    TaskLine,
    TasksView,
    WhyView,
    WorkersView,
)
from fanwood.model.states import RunState
from fanwood.sdk.listing import collect, filter_of
from fanwood.server import seeing
from fanwood.server.answers import Me, PayloadPart
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.masking import masked_json
from fanwood.server.problems import Refusal
from fanwood.server.queries import (
    LogsQuery,
    MembersQuery,
    PayloadQuery,
    TreesQuery,
)
from fanwood.store.failures import decode_failure
from fanwood.store.why import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import RunRecord, TaskCount
    from fanwood.store.store import Store

PREVIEW = 200
"""Characters of an input in a list."""
SMALL_FAMILY = 20
NEIGHBOURS = 50
PART = 64 * 1024
"""Characters of a payload at a time."""


async def me(call: Call) -> Me:
    """Who asks, and what they may do."""
    who, options = call.identity, call.site.options
    url = await call.ask(_url)
    return Me(
        who.name,
        who.role.name.lower(),
        who.namespace,
        options.read_only,
        call.sees_payloads,
        url,
        sys.modules["fanwood"].__version__,
    )


async def _url(store: Store) -> str:
    return store.url


async def trees(call: Call) -> RunsPage:
    """Roots, the newest first."""
    query: TreesQuery = call.query

    async def ask(store: Store) -> RunsPage:
        filter_ = filter_of(
            call.site.settings.namespace,
            task=query.task,
            status=query.state,
            since=query.since,
            until=query.until,
            limit=query.limit,
            every=False,
            metadata=_metadata(query.metadata),
        )
        if query.after is not None:
            filter_ = msgspec.structs.replace(filter_, after=_place(query.after))
        listed = await collect(store.listing, filter_)
        counts = {id_text(run.id): seeing.total(await store.tree_counts(run.id)) for run in listed.runs}
        after = None if listed.after is None else f"{listed.after[0]}.{listed.after[1].hex()}"
        return RunsPage(await _briefs(store, listed.runs, call), after, counts)

    return await call.ask(ask)


def _metadata(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise Refusal(400, "bad_query", "metadata is a JSON object", str(error)) from None


def _place(after: str) -> tuple[int, bytes]:
    at, _, id_ = after.partition(".")
    try:
        return int(at), bytes.fromhex(id_)
    except ValueError:
        raise Refusal(400, "bad_query", "`after` is what the page before said") from None


async def _briefs(store: Store, runs: Sequence[RunRecord], call: Call) -> tuple[RunBrief, ...]:
    previews = await store.previews([run.id for run in runs], PREVIEW) if call.sees_payloads else [""] * len(runs)
    return tuple(seeing.brief(run, preview) for run, preview in zip(runs, previews, strict=True))


async def run(call: Call) -> RunDetail:
    """A run: what is above, beside and below it, its attempts, its error."""

    async def ask(store: Store) -> RunDetail:
        record = await store.get(id_bytes(call.path["id"]))
        ancestors: list[RunRecord] = []
        above = record
        while above.parent_id is not None:
            above = await store.get(above.parent_id)
            ancestors.append(above)
        attempts = await store.attempts(record.id)
        after = await store.children(record.parent_id, after=record.id, limit=NEIGHBOURS) if record.parent_id else []
        failure = None if record.error is None else decode_failure(record.error)
        return RunDetail(
            run=(await _briefs(store, [record], call))[0],
            ancestors=await _briefs(store, ancestors[::-1], call),
            attempts=tuple(seeing.attempt(each) for each in attempts),
            error=seeing.detail(failure),
            families=seeing.families(await store.child_counts(record.id)),
            after=await _briefs(store, after, call),
            has_output=record.output is not None,
        )

    return await call.ask(ask)


async def children(call: Call) -> ChildrenView:
    """What is right below a run: small families run by run, larger ones as one line."""

    async def ask(store: Store) -> ChildrenView:
        parent = await store.get(id_bytes(call.path["id"]))
        counts = await store.child_counts(parent.id)
        families = seeing.families(counts)
        small = [name for name in sorted({each.task for each in counts}) if _size(counts, name) <= SMALL_FAMILY]
        found = [each for name in small for each in await store.children(parent.id, task=name, limit=SMALL_FAMILY)]
        found.sort(key=lambda each: each.id)
        below = {id_text(each.id): seeing.total(await store.child_counts(each.id)) for each in found}
        return ChildrenView(
            parent=(await _briefs(store, [parent], call))[0],
            families=tuple(family for family in families if family.task not in small),
            runs=await _briefs(store, found, call),
            parents={id_: count for id_, count in below.items() if count != Counts()},
        )

    return await call.ask(ask)


def _size(counts: Sequence[TaskCount], name: str) -> int:
    return sum(each.count for each in counts if each.task == name)


async def members(call: Call) -> RunsPage:
    """A run's children, page by page, in the order of their spawning."""
    query: MembersQuery = call.query

    async def ask(store: Store) -> RunsPage:
        parent = await store.get(id_bytes(call.path["id"]))
        state = None if query.state is None else RunState[query.state.upper()]
        after = b"" if query.after is None else id_bytes(query.after)
        found = await store.children(parent.id, task=query.task, state=state, after=after, limit=query.limit + 1)
        shown = found[: query.limit]
        return RunsPage(await _briefs(store, shown, call), id_text(shown[-1].id) if len(found) > len(shown) else None)

    return await call.ask(ask)


async def payload(call: Call) -> PayloadPart:
    """Some of what went into a run, or came out of it."""
    query: PayloadQuery = call.query
    if not call.sees_payloads:
        raise Refusal(403, "payloads_hidden", "Payloads are not shown here")
    what = call.path["what"]
    if what not in ("input", "output", "error", "metadata"):
        raise Refusal(404, "no_such_route", "There is nothing at this URL")
    record = await call.ask(lambda store: store.get(id_bytes(call.path["id"])))
    stored: str | None = getattr(record, what)
    if stored is None:
        return PayloadPart(is_missing=True)
    shown, end = masked_json(stored, texts=what == "error"), query.offset + PART
    return PayloadPart(
        shown[query.offset : end], len(shown), end if end < len(shown) else None, is_masked=shown is not stored
    )


async def logs(call: Call) -> LogsPage:
    """Some of what a run logged."""
    query: LogsQuery = call.query

    async def ask(store: Store) -> LogsPage:
        record = await store.get(id_bytes(call.path["id"]))
        found = await store.logs(record.id, query.after, query.limit)
        has_ended = record.state.is_terminal and len(found) < query.limit
        after = found[-1].seq if found else query.after
        return LogsPage(after, tuple(seeing.line(each) for each in found), has_ended)

    return await call.ask(ask)


async def why(call: Call) -> WhyView:
    """Why a run is where it is, and what helps."""
    about = await call.ask(lambda store: store.circumstances(id_bytes(call.path["id"])))
    return seeing.why(explain(about))


async def tasks(call: Call) -> TasksView:
    """All tasks that were ever published."""

    async def ask(store: Store) -> TasksView:
        return TasksView(store.now(), tuple(seeing.task(each) for each in await store.tasks()))

    return await call.ask(ask)


async def task(call: Call) -> TaskLine:
    """One task, with the schema of its input."""
    found = await tasks(call)
    for each in found.tasks:
        if each.name == call.path["name"]:
            return each
    raise Refusal(404, "unknown_task", "There is no such task, or it isn't yours to see")


async def workers(call: Call) -> WorkersView:
    """All workers, and clients."""

    async def ask(store: Store) -> WorkersView:
        now = store.now()
        return WorkersView(now, tuple(seeing.worker(each, now) for each in await store.workers()))

    return await call.ask(ask)


async def store(call: Call) -> StoreView:
    """What `fanwood doctor` says of the store, in a moment."""

    async def ask(store: Store) -> StoreView:
        return seeing.store(await store.report(), await store.unserved())

    return await call.ask(ask)


_RUN = f"{API}/runs/{{id}}"
ROUTES = (
    Route("GET", f"{API}/me", Role.VIEWER, me, Me),
    Route("GET", f"{API}/trees", Role.VIEWER, trees, RunsPage, TreesQuery),
    Route("GET", _RUN, Role.VIEWER, run, RunDetail),
    Route("GET", f"{_RUN}/children", Role.VIEWER, children, ChildrenView),
    Route("GET", f"{_RUN}/members", Role.VIEWER, members, RunsPage, MembersQuery),
    Route("GET", f"{_RUN}/payload/{{what}}", Role.VIEWER, payload, PayloadPart, PayloadQuery),
    Route("GET", f"{_RUN}/logs", Role.VIEWER, logs, LogsPage, LogsQuery),
    Route("GET", f"{_RUN}/why", Role.VIEWER, why, WhyView),
    Route("GET", f"{API}/tasks", Role.VIEWER, tasks, TasksView),
    Route("GET", f"{API}/tasks/{{name:path}}", Role.VIEWER, task, TaskLine),
    Route("GET", f"{API}/workers", Role.VIEWER, workers, WorkersView),
    Route("GET", f"{API}/store", Role.VIEWER, store, StoreView, whole=True),
)
