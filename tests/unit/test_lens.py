"""Parts of the lens that need no store, or a wooden one; and which indexes its statements walk in SQLite."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fanwood import ManualClock
from fanwood.errors import StoreUnavailableError
from fanwood.lens.errors import brief, cluster_key, normal
from fanwood.lens.lens import Lens
from fanwood.lens.paths import Paths, folded
from fanwood.lens.pieces import Piece, Sizes
from fanwood.lens.where import Where
from fanwood.model.commands import Batch, ClaimRequest, Outcome, Spawn, SpawnKind, TaskInfo, WorkerInfo
from fanwood.model.looks import Cell, FailedRow, ParentRow, Part, class_end, duration_class
from fanwood.model.states import RunState
from fanwood.store.looks import FEW
from fanwood.store.memory.store import MemoryStore
from fanwood.store.sqlite import reading
from fanwood.store.sqlite.connection import connect, migrate


@pytest.mark.parametrize(
    ("message", "same"),
    [
        ("bad row 381 in part 17", "bad row 5 in part 2"),
        ("no key 'customer-7'", 'no key "customer-8"'),
        ("no answer from 10.0.3.7:8080 after 5 s", "no answer from 10.0.44.1:80 after 12.5 s"),
        ("GET https://a.example/x?y=1 failed", "GET https://b.example/ failed"),
        ("run 01a21837-0e7d-7000-8000-0000000025fd is gone", "run 01a2183a-b0c0-7000-8000-00000002619f is gone"),
        ("<object at 0x7f6b46023ba0>", "<object at 0x7f6b46000000>"),
        ("commit 9cdbcd2b827e failed", "commit c9132df00aa1 failed"),
        ("first line\nthen 1 more", "first line\nthen others"),
    ],
)
def test_what_differs_only_in_values_is_one_kind(message: str, same: str) -> None:
    assert normal(message) == normal(same)
    assert cluster_key("E", normal(message)) == cluster_key("E", normal(same))


def test_what_says_something_else_is_another_kind() -> None:
    messages = ["bad row", "bad column", "no answer", "utf8 is bad", "sha256 is bad"]
    assert len({normal(message) for message in messages}) == len(messages)


@pytest.mark.parametrize("length", [40, 60, 70, 80, 90, 2000])
def test_errors_that_are_cut_short_are_told_as_far_as_they_go(length: int) -> None:
    error = '{"kind":"failed","type":"ValueError","message":"a \\"bad\\" r\\u00f6w\\n' + "x" * 50 + '","traceback":""}'
    found = brief(error[:length])
    assert found is not None
    assert found.kind == "failed"
    assert found.type in ("", "ValueError")
    assert '"' not in found.message or found.message.startswith(('a "', "{"))


def test_classes_of_durations_are_half_steps() -> None:
    classes = [duration_class(n) for n in range(1, 2000)]
    assert classes == sorted(classes)
    assert all(n < class_end(duration_class(n)) + 1 for n in range(1, 2000))
    assert [duration_class(1 << n) for n in range(50)] == [2 * n for n in range(50)]


def test_a_task_that_calls_itself_stays_one_path() -> None:
    paths = Paths("fib")
    leaf = paths.below(paths.root, "leaf")
    assert paths.below(paths.root, "fib") is paths.root
    assert paths.below(leaf, "fib") is paths.root
    assert paths.root.is_folded
    assert not leaf.is_folded
    assert [path.task for path in paths.all] == ["fib", "leaf"]
    assert [path.task for path in paths.within(1)] == ["leaf"]


# --- how much is asked for -------------------------------------------------------------------------------------------


class Counted(MemoryStore):
    """Counts its looks, and the runs that they go through."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.looks: list[str] = []
        self.seen = 0

    async def cube(self, part: Part, shift: int) -> list[Cell]:
        cells = await super().cube(part, shift)
        self.looks.append("cube")
        self.seen += sum(cell.count for cell in cells)
        return cells

    async def next_parent(self, root: bytes, after: bytes, until: bytes) -> bytes | None:
        self.looks.append("next_parent")
        return await super().next_parent(root, after, until)

    async def parents(self, part: Part, few: int = FEW) -> list[ParentRow]:
        self.looks.append("parents")
        return await super().parents(part, few)


async def test_what_has_ended_is_not_read_again(tmp_path: Path) -> None:
    clock = ManualClock()
    store = Counted(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a", "b"), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 202)]
    root = ids[0]
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), root, None, "{}")]))
    await store.commit(worker, Batch(claim=ClaimRequest('["a"]', 1)))
    kind = SpawnKind("b", parent_id=root, parent_attempt=1, root_id=root, depth=1)
    await store.commit(worker, Batch(spawns=[Spawn(kind, id_, id_, "{}") for id_ in ids[1:]]))
    await store.commit(worker, Batch(claim=ClaimRequest('["b"]', 160)))
    await store.commit(worker, Batch(outcomes=[Outcome(id_, 1, RunState.COMPLETED, "1") for id_ in ids[1:151]]))
    lens = Lens(root, clock, sizes=Sizes(segment=20))
    while lens.done < 1:
        await lens.refresh(store)
    assert store.seen == 200
    assert lens.view().counts.completed == 150
    store.looks, store.seen = [], 0
    await lens.refresh(store)
    assert store.seen <= 4 * 20 + 20  # the two ends of the family, what is queued, and one that is sealed
    assert lens.view(where=Where(state="completed")).counts.completed == 150
    assert lens.view(where=Where(task="a")).counts.running == 1
    for attempt, number in ((2, 70), (2, 30), (3, 70), (3, 30)):
        await store.replay(ids[number], (RunState.COMPLETED,))
        lens.touched(await store.get(ids[number]))  # that it is queued again, no index says
        await lens.refresh(store)
        assert (lens.view().counts.completed, lens.view().counts.queued) == (149, 41)
        await store.commit(worker, Batch(claim=ClaimRequest('["b"]', 1)))
        await store.commit(worker, Batch(outcomes=[Outcome(ids[number], attempt, RunState.COMPLETED, "1")]))
        await lens.refresh(store)
        assert (lens.view().counts.completed, lens.view().counts.queued) == (150, 40)
    await store.close()


def test_a_piece_says_what_was_read_of_it_last() -> None:
    """Whatever was there before: a run may be replayed, or be retried and take less time."""
    where = Part(bytes(16), bytes(16))
    ended, runs = (False, 0, 9), (False, 0, -1)
    before = [
        Cell("a", RunState.COMPLETED, *ended, count=3, total=60, longest=50, busy=0, last=9, since=None),
        Cell("b", RunState.RUNNING, *runs, count=2, total=0, longest=0, busy=0, last=None, since=1),
    ]
    after = [Cell("a", RunState.COMPLETED, *ended, count=2, total=9, longest=7, busy=0, last=9, since=None)]
    path = Paths("a").root
    again, new = Piece(where, path, 1), Piece(where, path, 1)
    again.take(before, 0)
    again.take(after, 0)
    new.take(after, 0)
    assert (again.count, again.living, again.longest) == (new.count, new.living, new.longest) == (2, 0, {"a": 7})
    assert not again.has(RunState.RUNNING)


async def test_a_family_that_grows_is_read_segment_by_segment(tmp_path: Path) -> None:
    """What came is cut first, and not read whole to see that it is too much; nor is a leaf asked for its children since
    the first segment's parent has some."""
    clock = ManualClock()
    store = Counted(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a", "b"), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 202)]
    root = ids[0]
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), root, None, "{}", claimed=True)]))
    kind = SpawnKind("b", parent_id=root, parent_attempt=1, root_id=root, depth=1)
    lens, grown = Lens(root, clock, sizes=Sizes(segment=20, few=3)), 1
    for more in (10, 60, 130):
        spawns = [Spawn(kind, id_, id_, "{}", claimed=True) for id_ in ids[grown : grown + more]]
        await store.commit(worker, Batch(spawns=spawns))
        grown, store.seen = grown + more, 0
        await lens.refresh(store)
        while lens.done < 1:
            await lens.refresh(store)
        assert lens.view().counts.running == grown
        assert store.seen <= grown + 20  # (what was there before may be read as well)
    assert "parents" not in store.looks
    await store.close()


class Failing(Counted):
    """Of which one look fails."""

    left = fails = -1

    async def failed(self, root: bytes, after: bytes, limit: int, *, links: bool = False) -> list[FailedRow]:
        self.fails -= 1
        if self.fails == 0:
            raise StoreUnavailableError("away")
        return await super().failed(root, after, limit, links=links)

    async def cube(self, part: Part, shift: int) -> list[Cell]:
        self.left -= 1
        if self.left == 0:
            raise StoreUnavailableError("away")
        return await super().cube(part, shift)


@pytest.mark.parametrize("fails", range(1, 9))
async def test_what_could_not_be_read_is_read_later(tmp_path: Path, fails: int) -> None:
    """One segment is read while another is taken in: neither is forgotten, nor counted twice."""
    clock = ManualClock()
    store = Failing(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a", "b"), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 152)]
    root = ids[0]
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), root, None, "{}", claimed=True)]))
    kind = SpawnKind("b", parent_id=root, parent_attempt=1, root_id=root, depth=1)
    await store.commit(worker, Batch(spawns=[Spawn(kind, id_, id_, "{}") for id_ in ids[1:]]))
    lens, store.left = Lens(root, clock, sizes=Sizes(segment=20)), fails
    with pytest.raises(StoreUnavailableError):
        await lens.refresh(store)
    while lens.done < 1:
        await lens.refresh(store)
    assert lens.view().counts.queued == 150
    await store.close()


async def test_one_seek_says_of_many_segments_that_they_have_leaves(tmp_path: Path) -> None:
    """As far as all had ended long before; and where a run has children they are found."""
    clock = ManualClock()
    store = Counted(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a", "b"), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 213)]
    root, children, below, late = ids[0], ids[1:201], ids[201:211], ids[211]
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), root, None, "{}", claimed=True)]))

    async def spawn(parent: bytes, depth: int, runs: list[bytes], *, ends: bool) -> None:
        kind = SpawnKind("b", parent_id=parent, parent_attempt=1, root_id=root, depth=depth)
        await store.commit(worker, Batch(spawns=[Spawn(kind, id_, id_, "{}", claimed=True) for id_ in runs]))
        outcomes = [Outcome(id_, 1, RunState.COMPLETED, "1") for id_ in runs] if ends else []
        await store.commit(worker, Batch(outcomes=outcomes))

    await spawn(root, 1, children[:100], ends=True)
    await spawn(root, 1, children[100:101], ends=False)
    await spawn(children[100], 2, below, ends=False)
    await spawn(root, 1, children[101:], ends=True)
    clock.advance(60)
    lens = Lens(root, clock, sizes=Sizes(segment=20))
    while lens.done < 1:
        await lens.refresh(store)
    assert (lens.view().counts.completed, lens.view().counts.running) == (199, 12)
    assert store.looks.count("cube") >= 10
    assert store.looks.count("next_parent") <= 6
    await spawn(children[100], 2, [late], ends=False)
    for _ in range(30):
        clock.advance(1)
        await lens.refresh(store)
    assert lens.view().counts.running == 13
    await store.close()


@pytest.mark.parametrize("fails", range(1, 6))
async def test_failures_that_could_not_be_read_are_read_later(tmp_path: Path, fails: int) -> None:
    """A page of them is read while another is taken in: neither is forgotten, nor counted twice."""
    clock = ManualClock()
    store = Failing(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a", "b"), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 1603)]
    root = ids[0]
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), root, None, "{}", claimed=True)]))
    kind = SpawnKind("b", parent_id=root, parent_attempt=1, root_id=root, depth=1)
    await store.commit(worker, Batch(spawns=[Spawn(kind, id_, id_, "{}", claimed=True) for id_ in ids[1:]]))
    error = '{"kind":"failed","type":"ValueError","message":"bad row"}'
    await store.commit(worker, Batch(outcomes=[Outcome(id_, 1, RunState.FAILED, None, error) for id_ in ids[1:]]))
    lens, store.fails = Lens(root, clock), fails
    troubles = 0
    while lens.done < 1:
        try:
            await lens.refresh(store)
        except StoreUnavailableError:
            troubles += 1
    assert troubles == (fails <= 4)  # four pages
    assert [one.count for one in lens.view().clusters] == [1601]
    await store.close()


async def test_one_step_goes_down_as_far_as_there_is_time(tmp_path: Path) -> None:
    """What is below a run is read in the step in which that is found."""
    clock = ManualClock()
    store = Counted(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a",), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 9)]
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), ids[0], None, "{}", claimed=True)]))
    for depth, (above, id_) in enumerate(pairwise(ids), 1):
        kind = SpawnKind("a", parent_id=above, parent_attempt=1, root_id=ids[0], depth=depth)
        await store.commit(worker, Batch(spawns=[Spawn(kind, id_, id_, "{}", claimed=True)]))
    lens = Lens(ids[0], clock)
    await lens.refresh(store)
    assert lens.done == 1
    assert lens.view().counts.running == 8
    await store.close()


async def test_what_is_whole_is_whole(tmp_path: Path) -> None:
    """Small families that are read together are read when all segments above them are known, also the last one."""
    clock = ManualClock()
    store = Counted(clock, url=f"memory:{tmp_path}")
    await store.open(lambda: None)
    worker = await store.register(WorkerInfo("w", "h", 1, 4, ("a",), 10**9), [TaskInfo("a", "task")])
    ids = [bytes(6) + bytes([0x70, 0, 0x80, 0]) + n.to_bytes(6, "big") for n in range(1, 410)]
    root, top, middle, below = ids[0], ids[1:5], ids[5:205], ids[205:]

    async def spawn(parent: bytes, depth: int, runs: list[bytes], *, claimed: bool = True) -> None:
        kind = SpawnKind("a", parent_id=parent, parent_attempt=1, root_id=root, depth=depth)
        await store.commit(worker, Batch(spawns=[Spawn(kind, id_, id_, "{}", claimed=claimed) for id_ in runs]))

    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), root, None, "{}", claimed=True)]))
    await spawn(root, 1, top)
    for number, parent in enumerate(top):
        await spawn(parent, 2, middle[number * 50 : number * 50 + 50])
    for number, parent in enumerate(middle):
        if number % 3:
            await spawn(parent, 3, [below[number]], claimed=False)
    lens = Lens(root, clock, sizes=Sizes(segment=20))
    while lens.done < 1:
        await lens.refresh(store)
    assert lens.view().counts.running == 205
    assert lens.view().counts.queued == 133
    await store.close()


# --- indexes ---------------------------------------------------------------------------------------------------------

BY_TREE = {
    "segment_end",
    "cube",
    "next_parent",
    "parents",
    "longest",
    "latest",
    "picked",
    "picked_before",
    "tree_sample",
}


def test_sqlite_walks_the_index_of_trees(tmp_path: Path) -> None:
    """Also where statistics say that there is but one tree."""
    database = connect(tmp_path / "one.db")
    migrate(database, tmp_path / "one.db")
    database.execute("analyze")
    for name in BY_TREE:
        sql = reading._SQL[name]
        names = ("root", "parent", "parents", "after", "until", "id")
        bindings: dict[str, Any] = dict.fromkeys(names, b"x" * 16) | {"task": None, "state": None}
        bindings |= {"count": 1, "limit": 1, "most": 1, "few": 1, "shift": 20}
        plan = [row[-1] for row in database.execute(f"explain query plan {sql}", bindings).fetchall()]
        assert any("run_tree" in step for step in plan), (name, plan)
        assert not any("PRIMARY KEY" in step or step.startswith("SCAN run") for step in plan), (name, plan)
    database.close()


@pytest.mark.parametrize(
    ("tasks", "path"),
    [
        ("a b c", "a b c"),
        ("a b b b", "a b"),
        ("a b c b c d", "a b c d"),
        ("a b c a", "a"),
        ("a b a c", "a c"),
        ("a a", "a"),
    ],
)
def test_recursion_is_folded_in_an_action_as_it_is_in_the_picture(tasks: str, path: str) -> None:
    way, paths = tuple[str, ...](), Paths("a")
    at = paths.root
    for number, task in enumerate(tasks.split()):
        way = folded(way, task)
        at = at if not number else paths.below(at, task)
    named: list[str] = []
    above = at
    while above is not None:
        named, above = [above.task, *named], above.parent
    assert list(way) == named == path.split()
