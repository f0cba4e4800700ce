"""The routes that show. What they show is made by `lens/pages.py`, on a store that shows what somebody may see."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.ids import id_bytes
from fanwood.lens import pages
from fanwood.lens.views import (
    ChildrenView,
    Cluster,
    LogsPage,
    RunDetail,
    RunsPage,
    StoreView,
    TaskLine,
    TasksView,
    WhyView,
    WorkersView,
)
from fanwood.model.states import RunState
from fanwood.sdk.listing import filter_of
from fanwood.server import seeing
from fanwood.server.answers import Me, PayloadPart
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.masking import masked_json, masked_text
from fanwood.server.problems import Refusal
from fanwood.server.queries import LogsQuery, MembersQuery, PayloadQuery, SearchQuery, TreesQuery, WindowQuery
from fanwood.store.why_asked import why_of

if TYPE_CHECKING:
    from fanwood.model.records import RunFilter
    from fanwood.store.store import Store

PART = 64 * 1024
"""Characters of a payload at a time."""
DAY = 86_400_000_000


async def me(call: Call) -> Me:
    """Who asks, and what they may do."""
    who, options = call.identity, call.site.options
    url = "" if who.namespace else await call.ask(_url)
    version: str = sys.modules["fanwood"].__version__
    return Me(who.name, who.role.name.lower(), who.namespace, options.read_only, call.sees_payloads, url, version)


async def _url(store: Store) -> str:
    return store.url


async def trees(call: Call) -> RunsPage:
    """Roots, the newest first."""
    filter_ = _filter(call.query)
    return await call.ask(lambda store: pages.trees(store, filter_))


def _filter(query: TreesQuery) -> RunFilter:
    filter_ = filter_of(
        "",
        task=query.task,
        status=query.state,
        since=query.since,
        until=query.until,
        limit=query.limit,
        every=False,
        metadata=_metadata(query.metadata),
    )
    if query.q:
        filter_ = msgspec.structs.replace(filter_, prefix=query.q)
    if query.after is not None:
        try:
            filter_ = msgspec.structs.replace(filter_, after=pages.place(query.after))
        except ValueError:
            raise Refusal(400, "bad_query", "`after` is what the page before said") from None
    return filter_


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refusal(400, "bad_query", "metadata is a JSON object", str(error)) from None


async def run(call: Call) -> RunDetail:
    """A run: what is above, beside and below it, its attempts, its error."""
    return await call.ask(lambda store: pages.run(store, id_bytes(call.path["id"]), call.site.known_lens))


async def children(call: Call) -> ChildrenView:
    """What is right below a run: small families run by run, larger ones as one line."""
    return await call.ask(lambda store: pages.children(store, id_bytes(call.path["id"]), call.site.known_lens))


async def members(call: Call) -> RunsPage:
    """A run's children, page by page, in the order of their spawning; of a cluster of failures all of a root's tree."""
    query: MembersQuery = call.query
    state = None if query.state is None else RunState[query.state.upper()]
    return await call.ask(
        lambda store: pages.members(
            store,
            id_bytes(call.path["id"]),
            task=query.task,
            state=state,
            cluster=query.cluster,
            after=query.after,
            limit=query.limit,
        )
    )


async def payload(call: Call) -> PayloadPart:
    """Some of what went into a run, or came out of it."""
    query: PayloadQuery = call.query
    if not call.sees_payloads:
        raise Refusal(403, "payloads_hidden", "Payloads are not shown here")
    what = call.path["what"]
    if what not in ("input", "output", "error", "metadata"):
        raise Refusal(404, "no_such_route", "There is nothing at this URL")
    record = await call.ask(lambda store: store.get(id_bytes(call.path["id"])))
    return part_of(getattr(record, what), query.offset, texts=what == "error")


def part_of(stored: str | None, offset: int, *, texts: bool = False) -> PayloadPart:
    """Some of a payload, from a character on, without its secrets. `texts`: look into its texts as well."""
    if stored is None:
        return PayloadPart(is_missing=True)
    shown, end = masked_json(stored, texts=texts), offset + PART
    return PayloadPart(shown[offset:end], len(shown), end if end < len(shown) else None, is_masked=shown is not stored)


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
    return seeing.why(await call.ask(lambda store: why_of(store, id_bytes(call.path["id"])), primary=True))


async def search(call: Call) -> RunsPage:
    """Runs by digits of their ids, by task, by what their errors say."""
    query: SearchQuery = call.query
    return await call.ask(lambda store: pages.search(store, query.q, told=masked_text))


async def failures(call: Call) -> tuple[Cluster, ...]:
    """What failed in a window of time, in all trees, by kind."""
    query: WindowQuery = call.query

    async def ask(store: Store) -> tuple[Cluster, ...]:
        until = store.now() + 1 if query.until is None else query.until
        since = until - DAY if query.since is None else query.since
        return await pages.clusters(store, since, until)

    return await call.ask(ask)


async def tasks(call: Call) -> TasksView:
    """All tasks that were ever published."""
    return await call.ask(pages.tasks)


async def task(call: Call) -> TaskLine:
    """One task, with the schema of its input."""
    for each in (await call.ask(pages.tasks)).tasks:
        if each.name == call.path["name"]:
            return each
    raise Refusal(404, "unknown_task", "There is no such task, or it isn't yours to see")


async def workers(call: Call) -> WorkersView:
    """All workers, and clients."""
    return await call.ask(pages.workers)


async def store(call: Call) -> StoreView:
    """What `fanwood doctor` says of the store, in a moment."""

    async def ask(store: Store) -> StoreView:
        return seeing.store(await store.report(), await store.unserved())

    found, site = await call.ask(ask, primary=True), call.site
    if site.reader is site.primary:
        return found
    url, lag = await site.reader.ask(_behind)
    return msgspec.structs.replace(found, replica=url, lag=lag)


async def _behind(store: Store) -> tuple[str, int | None]:
    return store.url, await store.lag()


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
    Route("GET", f"{API}/search", Role.VIEWER, search, RunsPage, SearchQuery, heavy=True),
    Route("GET", f"{API}/failures", Role.VIEWER, failures, tuple[Cluster, ...], WindowQuery, heavy=True),
    Route("GET", f"{API}/tasks", Role.VIEWER, tasks, TasksView),
    Route("GET", f"{API}/tasks/{{name:path}}", Role.VIEWER, task, TaskLine),
    Route("GET", f"{API}/workers", Role.VIEWER, workers, WorkersView),
    Route("GET", f"{API}/store", Role.VIEWER, store, StoreView, heavy=True, whole=True),
)
