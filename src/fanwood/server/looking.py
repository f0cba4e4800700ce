"""The routes of one tree: its picture, by the lens that all who look at it share; and what changes, as it changes."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response, StreamingResponse

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_bytes, id_text
from fanwood.lens import pages
from fanwood.lens.views import BudgetView, CriticalStep, RunsPage, TreeView, Waterfall
from fanwood.lens.where import Where
from fanwood.model.records import RunFilter
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.live import PAUSE, SCHEMA, Picture, event
from fanwood.server.masking import shown
from fanwood.server.problems import Refusal, code_of
from fanwood.server.queries import FocusQuery, LiveQuery, NarrowQuery, TaskQuery, WhereQuery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fanwood.lens.lens import Lens
    from fanwood.server.live import Channel
    from fanwood.store.store import Store

OF_LISTS = 2.0
"""Seconds between two pictures of a list."""
TOPICS = 8
LISTED = 50


async def view(call: Call) -> Response:
    """The whole picture of a tree, or of a part of it. Its ETag changes when it does."""
    query: WhereQuery = call.query
    where = Where(query.task, query.state, query.path, query.cluster, query.since, query.until)
    window = None if query.since is None or query.until is None else (query.since, query.until)
    lens = await _lens(call)
    found = await call.site.reader.ask(lambda _: _view(lens, where, query.bins, window))
    tag = f'W/"{found.version}{"p" if call.sees_payloads else ""}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if tag in [given.strip() for given in call.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    body = msgspec.json.encode(shown(found, payloads=call.sees_payloads))
    return Response(body, media_type="application/json", headers=headers)


async def _view(lens: Lens, where: Where, bins: int, window: tuple[int, int] | None) -> TreeView:
    """On the reader's thread, since that is where the lens is refreshed."""
    return lens.view(where=where, bins=bins, window=window)


async def _lens(call: Call) -> Lens:
    root = id_bytes(call.path["id"])
    await call.ask(lambda store: _root(store, root))
    return await call.site.reader.ask(lambda store: call.site.trees.tree(store, root))


async def _root(store: Store, run_id: bytes) -> None:
    """It is a root, and ours to see.

    Raises:
        RunNotFoundError: it isn't.
    """
    found = await store.briefs([run_id])
    if not found or found[0].parent_id is not None:
        raise RunNotFoundError(f"There is no tree {id_text(run_id)} in {store.url}")


async def narrowed(call: Call) -> RunsPage:
    """The runs of a tree that a filter lets through, wherever they are, page by page."""
    query: NarrowQuery = call.query
    where = Where(query.task, query.state, query.path, None, query.since, query.until)
    lens = await _lens(call)
    try:
        return await call.ask(lambda store: pages.narrowed(store, lens, where, query.after, query.limit))
    except ValueError:
        raise Refusal(400, "bad_query", "`after` is what the page before said") from None


async def budget(call: Call) -> BudgetView:
    """What is left of a tree's budget, and who has spent most."""
    root = id_bytes(call.path["id"])

    async def ask(store: Store) -> BudgetView:
        await _root(store, root)
        return await pages.budget(store, root, root)

    return await call.ask(ask)


async def slowest(call: Call) -> RunsPage:
    """The ended runs of a tree that took longest."""
    query: TaskQuery = call.query
    lens = await _lens(call)
    return await call.ask(lambda store: pages.slowest(store, lens, task=query.task))


async def critical_path(call: Call) -> tuple[CriticalStep, ...]:
    """Which chain of runs made a tree long."""
    run_id = id_bytes(call.path["id"])
    return await call.ask(lambda store: pages.critical_path(store, run_id, call.site.warm_lens))


async def waterfall(call: Call) -> Waterfall:
    """The way to a run, and of each level some examples."""
    query: FocusQuery = call.query
    focus = None if query.focus is None else id_bytes(query.focus)
    return await call.ask(lambda store: pages.waterfall(store, id_bytes(call.path["id"]), focus, call.site.known_lens))


# --- live ------------------------------------------------------------------------------------------------------------


async def live(call: Call) -> Response:
    """What changes, as it changes: server-sent events (hello, view, delta, gone, trouble)."""
    query: LiveQuery = call.query
    call.site.limits.check_streams(call.identity.name)
    topics = list(dict.fromkeys(query.topics.split(",")))
    if len(topics) > TOPICS:
        raise Refusal(400, "bad_query", f"A stream follows at most {TOPICS} topics")
    channels: list[Channel] = []
    hello = event("hello", {"schema": SCHEMA, "now": await call.ask(_now), "interval": PAUSE})
    for topic in topics:
        try:
            channels.append(await _channel(call, topic))
        except RunNotFoundError as error:
            hello += event("gone", {"topic": topic, "code": code_of(type(error))})
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(call, hello, channels), media_type="text/event-stream", headers=headers)


async def _stream(call: Call, hello: bytes, channels: list[Channel]) -> AsyncGenerator[bytes, None]:
    site, last = call.site, call.headers.get("last-event-id", "")
    if site.limits.is_full(call.identity.name):
        return
    with site.limits.stream(call.identity.name):
        async with aclosing(site.live.stream(hello, channels, last, call.may)) as stream:
            async for some in stream:
                yield some


async def _now(store: Store) -> int:
    return store.now()


async def _channel(call: Call, topic: str) -> Channel:
    kind, _, id_ = topic.partition(":")
    site, payloads = call.site, call.sees_payloads
    if kind == "tree":
        root = id_bytes(id_)
        await call.ask(lambda store: _root(store, root))

        async def tree() -> Picture:
            return await site.reader.ask(lambda store: _picture(call, store, root))

        return site.live.channel((topic, payloads), topic, tree)
    if topic not in ("trees", "workers"):
        raise Refusal(400, "bad_query", "There is no such topic", "There are tree:ID, trees, workers.")

    async def listed() -> Picture:
        ask = _roots if topic == "trees" else pages.workers
        return Picture(shown(await call.ask(ask), payloads=payloads), OF_LISTS)

    return site.live.channel((topic, call.identity.namespace, payloads), topic, listed)


async def _picture(call: Call, store: Store, root: bytes) -> Picture:
    """On the reader's thread."""
    lens = await call.site.trees.tree(store, root)
    more = lens.interval == 0
    return Picture(shown(lens.view(), payloads=call.sees_payloads), lens.interval, more)


async def _roots(store: Store) -> RunsPage:
    return await pages.trees(store, RunFilter(limit=LISTED))


_TREE = f"{API}/trees/{{id}}"
ROUTES = (
    Route("GET", f"{_TREE}/view", Role.VIEWER, view, TreeView, WhereQuery),
    Route("GET", f"{_TREE}/budget", Role.VIEWER, budget, BudgetView),
    Route("GET", f"{_TREE}/members", Role.VIEWER, narrowed, RunsPage, NarrowQuery, heavy=True),
    Route("GET", f"{_TREE}/slowest", Role.VIEWER, slowest, RunsPage, TaskQuery, heavy=True),
    Route("GET", f"{_TREE}/critical-path", Role.VIEWER, critical_path, tuple[CriticalStep, ...], heavy=True),
    Route("GET", f"{_TREE}/waterfall", Role.VIEWER, waterfall, Waterfall, FocusQuery, heavy=True),
    Route("GET", f"{API}/live", Role.VIEWER, live, None, LiveQuery),
)
