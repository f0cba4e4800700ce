"""Pages of runs: each a few bounded looks, and nothing is kept from one to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_bytes, id_text
from fanwood.lens.book import no_lens
from fanwood.lens.briefs import counts_of, named_briefs
from fanwood.lens.budgets import budget
from fanwood.lens.errors import brief, cluster_key, normal
from fanwood.lens.failures import Kinds
from fanwood.lens.families import children, families
from fanwood.lens.forks import fork_brief, forks_of
from fanwood.lens.narrowed import narrowed
from fanwood.lens.people import tasks, workers
from fanwood.lens.times import critical_path, slowest, waterfall
from fanwood.lens.views import AttemptView, Cluster, Counts, ErrorDetail, PausedBrief, RunDetail, RunsPage
from fanwood.model.actions import shown
from fanwood.model.commands import FIRST_CHUNK
from fanwood.model.lives import life_of
from fanwood.model.looks import LAST_ID, Part
from fanwood.model.records import RunFilter
from fanwood.model.states import RunState
from fanwood.store.failures import attempt_error, decode_failure
from fanwood.store.version import version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.lens.book import Shelf
    from fanwood.lens.views import ErrorBrief
    from fanwood.model.commands import Failure
    from fanwood.model.looks import FailedRow
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

__all__ = [
    "budget", "children", "clusters", "critical_path", "members", "narrowed", "run", "search", "slowest", "tasks",
    "trees", "waterfall", "workers",
]  # fmt: skip

LIMIT = 100
SAMPLE = 2_000
"""Runs of a tree that a list looks at: of larger ones it says so many, and more."""
ANCESTORS, BESIDE = 1_000, 50
WINDOWS = 20
"""Segments, and pages of failures, that one call goes through."""
PAGE = 500
NAMESPACES = 50
"""In which a key is looked for."""
LAST_CHUNK = 2**31 - 1
"""Chunks of a stream have the numbers from `FIRST_CHUNK` to this."""
FAILURES = 20_000
"""Failures of a window of time that are sorted into clusters."""


async def trees(store: Store, filter_: RunFilter) -> RunsPage:
    """Roots, newest first, each with the states of (the first so many runs of) its tree. Actions on others only if they
    are asked for: they have a page of their own.

    Raises:
        RunNotFoundError: never; a tree that goes meanwhile is left out.
    """
    page = await store.listing(filter_)
    page = msgspec.structs.replace(page, runs=shown(page.runs, filter_))
    counts: dict[str, Counts] = {}
    failures: dict[str, int] = {}
    cut: list[str] = []
    for root in page.runs:
        states: dict[int, int] = {root.state: 1}
        sample = await store.tree_sample(root.id, SAMPLE)
        if sum(count for _, _, count in sample) >= SAMPLE:
            cut.append(id_text(root.id))
        for state, is_wait, count in sample:
            if not is_wait:
                states[state] = states.get(state, 0) + count
        counts[id_text(root.id)] = counts_of(states)
        if root.state is RunState.COMPLETED and (failed := len(await store.failed(root.id, b"", PAGE))):
            failures[id_text(root.id)] = failed
    after = None if page.after is None else f"{page.after[0]}-{page.after[1].hex()}"
    runs = await named_briefs(store, page.runs)
    return RunsPage(runs, after, counts, failures, tuple(cut))


def place(after: str) -> tuple[int, bytes]:
    """Where a list of trees goes on (`RunFilter.after`), from `RunsPage.after`.

    Raises:
        ValueError: it is none.
    """
    at, _, id_ = after.partition("-")
    return int(at), bytes.fromhex(id_)


async def run(store: Store, run_id: bytes, shelf: Shelf = no_lens) -> RunDetail:
    """A run, and what is above, beside and below it.

    Raises:
        RunNotFoundError: there is no such run.
    """
    found, besides = await store.briefs([run_id]), await store.besides(run_id)
    if not found or besides is None:
        raise RunNotFoundError(f"There is no run {id_text(run_id)} in {store.url}")
    record = found[0]
    before, after = list["RunRecord"](), list["RunRecord"]()
    if record.parent_id is not None:
        before = (await store.picked_before(record.root_id, record.parent_id, run_id, BESIDE))[::-1]
        after = await store.picked(Part(record.root_id, record.parent_id, run_id), None, None, BESIDE)
    life = life_of(besides.life)
    burnt = await budget(store, run_id, record.root_id)
    attempts, above = await store.attempts(run_id), await store.above(run_id, ANCESTORS)
    return RunDetail(
        (await named_briefs(store, [record]))[0],
        await named_briefs(store, above, preview=False),
        tuple(
            AttemptView(
                one.number, one.state.name.lower(), one.worker, one.started_at, one.finished_at,
                None if (failure := attempt_error(one)) is None else _detail(failure),
            )
            for one in attempts
        ),
        None if besides.error is None else _detail(decode_failure(besides.error)),
        None if besides.deadline_by is None else id_text(besides.deadline_by),
        (await families(store, record, shelf)).views(),
        await named_briefs(store, before, preview=False),
        await named_briefs(store, after, preview=False),
        besides.has_output,
        _keys(record.metadata),
        bool(await store.logs(run_id, FIRST_CHUNK - 1, 1, LAST_CHUNK)),
        await _paused(store, record, above),
        burnt.limits,
        burnt.spent,
        burnt.spent_is_cut,
        0 if life is None else life.number,
        None if life is None else life.at,
        await fork_brief(store, record, besides.life),
        await forks_of(store, run_id),
        await version_of(store, run_id, besides.life),
    )  # fmt: skip


async def _paused(store: Store, record: RunRecord, above: list[RunRecord]) -> PausedBrief | None:
    pauses = {pause.run_id: pause for pause in await store.pauses([record.root_id])}
    nearest = next((pauses[run.id] for run in (record, *reversed(above)) if run.id in pauses), None)
    return None if nearest is None else PausedBrief(id_text(nearest.run_id), nearest.by, nearest.made_at)


def _detail(failure: Failure) -> ErrorDetail:
    return ErrorDetail(failure.kind, failure.type, failure.message, failure.traceback, failure.limit, failure.owner)


def _keys(metadata: str | None) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(metadata or "{}", type=dict[str, msgspec.Raw]))
    except msgspec.DecodeError:  # somebody wrote it by hand
        return ()


async def members(
    store: Store,
    run_id: bytes,
    *,
    task: str | None = None,
    state: RunState | None = None,
    cluster: str | None = None,
    after: str | None = None,
    limit: int = LIMIT,
) -> RunsPage:
    """A run's children that fit, by id. `cluster`: what failed so, of a root in its whole tree. A page may be
    short, and not the last.

    Raises:
        RunNotFoundError: there is no such run, or `after` is none.
    """
    record = await _brief(store, run_id)
    at = b"" if after is None else id_bytes(after)
    if cluster is not None or state is RunState.FAILED:
        found, next_ = await _failed(store, record, task, cluster, at, limit)
    else:
        found, next_ = await _picked(store, record, task, state, at, limit)
    return RunsPage(await named_briefs(store, found), None if next_ is None else id_text(next_))


async def _brief(store: Store, run_id: bytes) -> RunRecord:
    found = await store.briefs([run_id])
    if not found:
        raise RunNotFoundError(f"There is no run {id_text(run_id)} in {store.url}")
    return found[0]


async def _picked(
    store: Store, parent: RunRecord, task: str | None, state: RunState | None, at: bytes, limit: int
) -> tuple[list[RunRecord], bytes | None]:
    """Segment after segment."""
    found: list[RunRecord] = []
    for _ in range(WINDOWS):
        end = await store.segment_end(parent.root_id, parent.id, at)
        part = Part(parent.root_id, parent.id, at, end or LAST_ID)
        found += await store.picked(part, task, state, limit + 1 - len(found))
        if len(found) > limit:
            return found[:limit], found[limit - 1].id
        if end is None:
            return found, None
        at = end
    return found, at


async def _failed(
    store: Store, parent: RunRecord, task: str | None, cluster: str | None, at: bytes, limit: int
) -> tuple[list[RunRecord], bytes | None]:
    """By the index of what failed in the tree."""
    everywhere = cluster is not None and parent.parent_id is None
    found: list[bytes] = []
    next_: bytes | None = at
    for _ in range(WINDOWS):
        rows = await store.failed(parent.root_id, at, PAGE)
        for row in rows:
            at = row.id
            if (everywhere or row.parent_id == parent.id) and task in (None, row.task) and _is_of(row, cluster):
                found.append(row.id)
                if len(found) == limit:
                    break
        next_ = at
        if len(found) == limit:
            break
        if len(rows) < PAGE:
            next_ = None
            break
    there = {record.id: record for record in await store.briefs(found)}
    return [there[id_] for id_ in found if id_ in there], next_


def _is_of(row: FailedRow, cluster: str | None) -> bool:
    if cluster is None:
        return True
    error: ErrorBrief | None = brief(row.error)
    return error is not None and cluster_key(error.type or error.kind, normal(error.message)) == cluster


async def clusters(store: Store, since: int, until: int) -> tuple[Cluster, ...]:
    """What failed in a time, in all trees."""
    kinds, at = Kinds(), (since - 1, LAST_ID)
    while kinds.count < FAILURES:
        rows = await store.failed_at(at, until, PAGE)
        kinds.add(rows)
        if len(rows) < PAGE:
            break
        at = (rows[-1].finished_at, rows[-1].id)
    return kinds.view()


async def search(store: Store, text: str, limit: int = 20, told: Callable[[str], str] = str) -> RunsPage:
    """Runs whose id begins or ends so, roots whose idempotency key it is or whose task is called so, and what failed of
    late and says so. `told`: an error as it may be seen: what is masked in it is not found either."""
    text, found = text.strip(), dict[bytes, "RunRecord"]()
    if not text:
        return RunsPage()
    digits = text.replace("-", "").lower()
    if len(digits) >= 4 and set(digits) <= set("0123456789abcdef"):
        for one in await store.briefs(await store.find(text, limit)):
            found[one.id] = one
    if len(found) < limit:
        for one in await _of_key(store, text):
            found[one.id] = one
    if len(found) < limit:
        for one in (await store.listing(RunFilter(prefix=text, limit=limit))).runs:
            found.setdefault(one.id, one)
    if len(found) < limit:
        latest = await store.listing(RunFilter(every=True, state=RunState.FAILED, limit=PAGE))
        for one in latest.runs:
            error = brief(one.error)
            if error is not None and text.lower() in f"{error.type}: {told(error.message)}".lower():
                found.setdefault(one.id, one)
    return RunsPage(await named_briefs(store, list(found.values())[:limit]))


async def _of_key(store: Store, key: str) -> list[RunRecord]:
    """Roots with this idempotency key: of each namespace one, at most."""
    namespaces = {"", *(task.name.rpartition("/")[0] for task in await store.tasks())}
    holders = [await store.holder(namespace, key) for namespace in sorted(namespaces)[:NAMESPACES]]
    return await store.briefs([id_ for id_ in holders if id_ is not None])
