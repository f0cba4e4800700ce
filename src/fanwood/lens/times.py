"""What made a tree long: the slowest runs, the critical path, and the waterfall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.lens.book import no_lens, segments_of
from fanwood.lens.briefs import named_briefs, names_of, run_brief
from fanwood.lens.families import AT_ONCE
from fanwood.lens.views import CriticalStep, Lane, RunsPage, Waterfall
from fanwood.model.looks import LAST_ID, LastRow, Part
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.lens.book import Shelf
    from fanwood.lens.lens import Lens
    from fanwood.lens.pieces import Piece
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

SLOWEST = 20
DEEP = 200
"""Levels of a critical path, and of a waterfall, at most."""
SPREAD = 10
"""Segments of a large family that the waterfall's examples are taken from."""
SLOW, ROWS = 5, 100
"""Runs of a level of the waterfall: the slowest, and in all."""


async def slowest(store: Store, lens: Lens, *, task: str | None = None, limit: int = SLOWEST) -> RunsPage:
    """The ended runs of a tree that took longest, exactly, as far as the lens has read it."""
    found: list[tuple[int, bytes]] = []
    for part, longest in lens.longest_parts(task):
        if len(found) >= limit and longest < found[limit - 1][0]:
            break
        found += [(row.took or 0, row.id) for row in await store.longest(part, task, limit)]
        found.sort(key=lambda one: (-one[0], one[1]))
        del found[limit:]
    ids = [id_ for _, id_ in found]
    there = {run.id: run for run in await store.briefs(ids)}
    runs = [there[id_] for id_ in ids if id_ in there]
    return RunsPage(await named_briefs(store, runs, preview=False))


async def critical_path(store: Store, run_id: bytes, shelf: Shelf = no_lens) -> tuple[CriticalStep, ...]:
    """From a run down: of each family the one that ended last, or has not ended. What ended before its parent was
    waited for, else the path ends above it. Of a large family a lens knows where that one is; without a lens only its
    first segments are looked at.

    Raises:
        RunNotFoundError: there is no such run.
    """
    there = await store.briefs([run_id])
    if not there:
        raise RunNotFoundError(f"There is no run {id_text(run_id)} in {store.url}")
    way, siblings = [there[0]], [0]
    while len(way) < DEEP:
        last, count = await _latest(store, way[-1], shelf)
        if last is None:
            break
        below = await store.briefs([last.id])
        if not below:
            break
        way.append(below[0])
        siblings.append(count - 1)
    names, now = await names_of(store, way), store.now()
    return tuple(
        CriticalStep(run_brief(run, worker=names.get(run.worker_id or 0)), _own(run, below, now), beside)
        for run, below, beside in zip(way, [*way[1:], None], siblings, strict=True)
    )


async def _latest(store: Store, parent: RunRecord, shelf: Shelf) -> tuple[LastRow | None, int]:
    """The last of its children to end; and how many children there are."""
    best: LastRow | None = None
    at, count = b"", 0
    for number in range(AT_ONCE if parent.attempt else 0):
        end = await store.segment_end(parent.root_id, parent.id, at)
        if end is not None and not number and (known := await segments_of(shelf, parent)):
            last = max(known, key=_last_of)
            return await store.latest(last.part), sum(piece.count for piece in known)
        part = Part(parent.root_id, parent.id, at, end or LAST_ID)
        found = await store.latest(part)
        if found is not None and (best is None or _place(found) > _place(best)):
            best = found
        count += 0 if found is None else found.among
        if end is None:
            break
        at = end
    return best, count


def _last_of(piece: Piece) -> tuple[bool, bool, int]:
    """As `_place`, of the one of a piece that comes last."""
    end = max((cell.last or 0 for cell in piece.cells), default=0)
    return piece.has(RunState.RUNNING), piece.living > 0, 0 if piece.living else end


def _place(row: LastRow) -> tuple[bool, bool, int]:
    return row.state == RunState.RUNNING, row.finished_at is None, row.finished_at or 0


def _own(run: RunRecord, below: RunRecord | None, now: int) -> int:
    """What it took, but for the time in which the one below it was there."""
    start, end = run.started_at or run.created_at, run.finished_at or now
    if below is None:
        return max(0, end - start)
    begun, over = max(start, below.created_at), min(end, below.finished_at or now)
    return max(0, end - start - max(0, over - begun))


async def waterfall(store: Store, run_id: bytes, focus: bytes | None = None, shelf: Shelf = no_lens) -> Waterfall:
    """The way from a run down to another, and examples of each level.

    Raises:
        RunNotFoundError: there is no such run.
    """
    there = await store.briefs([focus or run_id])
    if not there:
        raise RunNotFoundError(f"There is no run {id_text(focus or run_id)} in {store.url}")
    way = [*await store.above(there[0].id, DEEP), there[0]]
    way = way[next((n for n, run in enumerate(way) if run.id == run_id), 0) :]
    lanes: list[tuple[RunRecord, int, str]] = [(way[0], 0, "focus")]
    for level, parent in enumerate(way, 1):
        below = way[level] if level < len(way) else None
        lanes += [(run, level, why) for run, why in await _level(store, parent, below, shelf)]
    now, names = store.now(), await names_of(store, [run for run, _, _ in lanes])
    start = min(run.started_at or run.created_at for run, _, _ in lanes)
    end = max(run.finished_at or now for run, _, _ in lanes)
    shown = tuple(Lane(run_brief(run, worker=names.get(run.worker_id or 0)), level, why) for run, level, why in lanes)
    return Waterfall(start, end, shown, _gaps([run for run, _, _ in lanes], start, end, now))


async def _level(store: Store, parent: RunRecord, focus: RunRecord | None, shelf: Shelf) -> list[tuple[RunRecord, str]]:
    """Of a family: the one that is looked at, the slowest, the first that failed, and others spread over its time. Of a
    large one a lens knows which segments these are in; without a lens it is the first."""
    if not parent.attempt:
        return []
    end = await store.segment_end(parent.root_id, parent.id, b"")
    pieces = [] if end is None else await segments_of(shelf, parent)
    parts = [piece.part for piece in pieces] or [Part(parent.root_id, parent.id, until=end or LAST_ID)]
    by_longest = sorted(pieces, key=lambda piece: -max(piece.longest.values(), default=0))
    slowest = [
        row
        for part in ([one.part for one in by_longest[:SLOW]] or parts)
        for row in await store.longest(part, None, SLOW)
    ]
    slow = [row.id for row in sorted(slowest, key=lambda row: (-(row.took or 0), row.id))[:SLOW]]
    bad = next((piece.part for piece in pieces if piece.has(RunState.FAILED)), parts[0])
    failed = [run.id for run in await store.picked(bad, None, RunState.FAILED, 1)]
    spread = parts[:: -(-len(parts) // SPREAD)]
    sample = [run for part in spread for run in await store.picked(part, None, None, ROWS // len(spread))]
    whys: dict[bytes, str] = {}
    if focus is not None:
        whys[focus.id] = "focus"
    for id_ in slow:
        whys.setdefault(id_, "slow")
    for id_ in failed:
        whys.setdefault(id_, "failed")
    for run in sample[: ROWS - len(whys)]:
        whys.setdefault(run.id, "sample")
    runs = await store.briefs(list(whys))
    return sorted(((run, whys[run.id]) for run in runs), key=lambda one: (one[0].created_at, one[0].id))


def _gaps(runs: list[RunRecord], start: int, end: int, now: int) -> tuple[tuple[int, int], ...]:
    """Where none of them but the outermost, which wait, is under way, for more than a tenth of it all."""
    spans = sorted((run.started_at or run.created_at, run.finished_at or now) for run in runs[1:])
    found: list[tuple[int, int]] = []
    at = start
    for begun, over in [*spans, (end, end)]:
        if begun - at > (end - start) // 10 and spans:
            found.append((at, begun))
        at = max(at, over)
    return tuple(found)
