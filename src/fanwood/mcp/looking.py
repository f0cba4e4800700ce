"""The tools that look. Each is a few bounded looks, and an answer of less than 2,000 tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from fanwood import checks
from fanwood.durations import in_microseconds
from fanwood.errors import UsageError
from fanwood.lens import pages
from fanwood.lens.views import LogsPage
from fanwood.mcp import telling
from fanwood.mcp.desk import Arguments, Desk, McpTool, NoArguments, OfRun, Run
from fanwood.model.states import RunState
from fanwood.sdk.listing import filter_of
from fanwood.server import seeing
from fanwood.server.masking import masked_json
from fanwood.server.queries import State
from fanwood.store.why import explain

if TYPE_CHECKING:
    from fanwood.lens.views import (
        BudgetView,
        Cluster,
        CriticalStep,
        RunDetail,
        RunsPage,
        TasksView,
        TreeView,
        WhyView,
        WorkersView,
    )
    from fanwood.store.store import Store

Limit = Annotated[int, msgspec.Meta(ge=1, le=50, description="At most so many.")]
Duration = Annotated[str, msgspec.Meta(max_length=40, description="Such as 90s, 15m, 2h, 7d.")]
Task = Annotated[str, msgspec.Meta(max_length=1000, description="Of this task only: its whole name.")]
After = Annotated[str, msgspec.Meta(max_length=200, description="As the answer before said.")]
PART = 64 * 1024
"""Characters of a payload that are looked at."""


class ListRuns(Arguments, frozen=True):
    """Which runs."""

    task: Task | None = None
    state: State | None = None
    since: Duration | None = None
    all: Annotated[bool, msgspec.Meta(description="Children as well, and not only roots.")] = False
    after: After | None = None
    limit: Limit = 20


class Failures(Arguments, frozen=True):
    """Which failures."""

    tree: Run = None
    since: Annotated[str, msgspec.Meta(max_length=40, description="Of all trees, without `tree`: how far back.")] = "1d"


class Members(Arguments, frozen=True):
    """Whose children."""

    run: Run = None
    task: Task | None = None
    state: State | None = None
    after: After | None = None
    limit: Limit = 20


class Logs(Arguments, frozen=True):
    """Whose lines."""

    run: Run = None
    after: Annotated[int, msgspec.Meta(ge=-1, le=1 << 53, description="From the line after this number on.")] = -1
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 100


class Slowest(Arguments, frozen=True):
    """Of which tree."""

    run: Run = None
    task: Task | None = None


def _back(given: str | None, now: int) -> int:
    return 0 if given is None else now - in_microseconds(checks.seconds(given, "since"))


async def list_runs(desk: Desk, asked: ListRuns) -> str:
    async def ask(store: Store) -> tuple[RunsPage, int]:
        now = store.now()
        filter_ = filter_of(
            desk.settings.namespace, task=asked.task, status=asked.state, since=_back(asked.since, now), until=None,
            limit=asked.limit, every=asked.all, metadata=None,
        )  # fmt: skip
        if asked.after is not None:
            try:
                filter_ = msgspec.structs.replace(filter_, after=pages.place(asked.after))
            except ValueError:
                raise UsageError("`after` is what the answer before said") from None
        return await pages.trees(store, filter_), now

    page, now = await desk.ask(ask)
    return telling.listed(desk.shown(page).runs, now, page.after, "there are no such runs")


async def tree_summary(desk: Desk, asked: OfRun) -> str:
    async def ask(store: Store) -> tuple[TreeView, BudgetView]:
        root = await desk.root_of(store, asked.run)
        return (await desk.lens(store, root)).view(), await pages.budget(store, root, root)

    view, budget = await desk.ask(ask)
    return telling.tree(desk.shown(view), desk.shown(budget))


async def get_run(desk: Desk, asked: OfRun) -> str:
    async def ask(store: Store) -> tuple[RunDetail, list[tuple[str, str]], int]:
        run_id = await desk.find(store, asked.run)
        detail, payloads = await pages.run(store, run_id), list[tuple[str, str]]()
        if desk.payloads:
            record = await store.get(run_id)
            given = (("input", record.input), ("output", record.output), ("metadata", record.metadata))
            payloads = [(name, masked_json(text)[:PART]) for name, text in given if text is not None]
        return detail, payloads, store.now()

    detail, payloads, now = await desk.ask(ask)
    return telling.run(desk.shown(detail), payloads, now)


async def list_children(desk: Desk, asked: Members) -> str:
    async def ask(store: Store) -> tuple[RunsPage, int]:
        state = None if asked.state is None else RunState[asked.state.upper()]
        run_id = await desk.find(store, asked.run)
        page = await pages.members(store, run_id, task=asked.task, state=state, after=asked.after, limit=asked.limit)
        return page, store.now()

    page, now = await desk.ask(ask)
    none = "there are no such children" + ("" if page.after is None else f" here: go on with after={page.after}")
    return telling.listed(desk.shown(page).runs, now, page.after, none)


async def failures(desk: Desk, asked: Failures) -> str:
    async def ask(store: Store) -> tuple[tuple[Cluster, ...], int]:
        now = store.now()
        if asked.tree is None:
            return await pages.clusters(store, _back(asked.since, now), now + 1), now
        lens = await desk.lens(store, await desk.root_of(store, asked.tree))
        return lens.view().clusters, now

    clusters, now = await desk.ask(ask)
    return telling.failures(desk.shown(clusters), now)


async def why(desk: Desk, asked: OfRun) -> str:
    async def ask(store: Store) -> WhyView:
        return seeing.why(explain(await store.circumstances(await desk.find(store, asked.run))))

    return telling.why(desk.shown(await desk.ask(ask)))


async def logs(desk: Desk, asked: Logs) -> str:
    async def ask(store: Store) -> tuple[LogsPage, bool]:
        record = await store.get(await desk.find(store, asked.run))
        found = await store.logs(record.id, asked.after, asked.limit)
        page = LogsPage(asked.after, tuple(seeing.line(each) for each in found))
        return page, record.state.is_terminal and len(found) < asked.limit

    page, has_ended = await desk.ask(ask)
    return telling.logs(desk.shown(page).lines, has_ended)


async def slowest(desk: Desk, asked: Slowest) -> str:
    async def ask(store: Store) -> tuple[RunsPage, int]:
        lens = await desk.lens(store, await desk.root_of(store, asked.run))
        return await pages.slowest(store, lens, task=asked.task), store.now()

    page, now = await desk.ask(ask)
    return telling.listed(desk.shown(page).runs, now, None, "nothing of it has ended")


async def critical_path(desk: Desk, asked: OfRun) -> str:
    async def ask(store: Store) -> tuple[tuple[CriticalStep, ...], int]:
        run_id = await desk.find(store, asked.run)
        return await pages.critical_path(store, run_id, lambda root: desk.lens(store, root)), store.now()

    steps, now = await desk.ask(ask)
    return telling.path(desk.shown(steps), now)


async def tasks(desk: Desk, _: NoArguments) -> str:
    async def ask(store: Store) -> TasksView:
        return await pages.tasks(store)

    return telling.tasks(each for each in (await desk.ask(ask)).tasks if each.kind != "step")


async def workers(desk: Desk, _: NoArguments) -> str:
    async def ask(store: Store) -> WorkersView:
        return await pages.workers(store)

    view = await desk.ask(ask)
    return telling.workers(view.workers, view.as_of)


TOOLS = (
    McpTool("list_runs", "Lists runs, the newest first: roots, or with `all` children as well.", ListRuns, list_runs),
    McpTool(
        "tree_summary",
        "Sums up a whole tree of runs, of any size: how many runs are in which state, how fast it goes, what failed by "
        "kind, and how long its tasks take. Begin with this.",
        OfRun,
        tree_summary,
    ),
    McpTool("get_run", "Shows one run: its state, times, error, attempts, and what is around it.", OfRun, get_run),
    McpTool("list_children", "Lists the children of a run, in the order of their spawning.", Members, list_children),
    McpTool("failures", "Sums up what failed, by kind: in one tree, or in all of late.", Failures, failures),
    McpTool("why", "Says why a run is where it is (queued, waiting, running, failed), and what helps.", OfRun, why),
    McpTool("logs", "Shows the lines that a run logged.", Logs, logs),
    McpTool("slowest", "Lists the runs of a tree that took longest.", Slowest, slowest),
    McpTool("critical_path", "Shows the chain of runs that made a tree take as long as it did.", OfRun, critical_path),
    McpTool("tasks", "Lists the tasks that there are, who serves them, and what their input is.", NoArguments, tasks),
    McpTool("workers", "Lists the workers, and how busy they are.", NoArguments, workers),
)
