"""Whose turn it is, in the engine's claims and among what waits to begin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from fanwood.engine.claims import LEFT_OUT, PRIORITIES, Claims
from fanwood.model.commands import Batch, ClaimedRun, Committed, Spawn, SpawnKind
from fanwood.store.turns import Root, _Walk, in_turns
from fanwood.worker.slots import PREFETCH_BESIDE_SMALL, REMEMBERED, Slots
from fanwood.worker.turns import Turns


def run(id_: str, root: str = "", *, priority: int = 1, deaths: int = 0, task: str = "t") -> ClaimedRun:
    row = dict.fromkeys(ClaimedRun.__struct_fields__)
    parent = root and "F"
    about: dict[str, Any] = {
        "id": id_,
        "root_id": root or id_,
        "parent_id": parent,
        "priority": priority,
        "deaths": deaths,
    }
    return ClaimedRun(**{**row, **about, "task": task})


def runs_of(root: str, count: int, **about: Any) -> list[ClaimedRun]:
    return [run(f"{root}{n}", root, **about) for n in range(count)]


def waiting(*claims: list[ClaimedRun]) -> Turns:
    turns = Turns()
    for runs in claims:
        turns.add(runs)
    return turns


def taken(turns: Turns, count: int) -> list[str]:
    return [run.id for run in turns.take(count)]


def test_a_small_tree_does_not_wait_for_all_of_a_large_one() -> None:
    turns = waiting(runs_of("A", 100), runs_of("B", 2), runs_of("C", 1))
    assert taken(turns, 8) == ["A0", "B0", "C0", "A1", "B1", "A2", "A3", "A4"]
    assert turns.count == 95
    assert len(taken(turns, 1000)) == 95
    assert taken(turns, 1) == []


def test_a_turn_is_kept_from_one_time_to_the_next() -> None:
    turns = waiting([*runs_of("A", 3), *runs_of("B", 3)])
    assert [taken(turns, 1) for _ in range(4)] == [["A0"], ["B0"], ["A1"], ["B1"]]


def test_priorities_stand_above_turns() -> None:
    turns = waiting(runs_of("A", 3), runs_of("B", 2, priority=5), runs_of("C", 1))
    assert taken(turns, 4) == ["B0", "B1", "A0", "C0"]
    turns.add(runs_of("D", 1, priority=9))
    assert taken(turns, 9) == ["D0", "A1", "A2"]


def test_roots_that_have_not_begun_have_one_turn_together() -> None:
    turns = waiting([run("X"), run("Y"), run("Z")], runs_of("A", 3))
    assert taken(turns, 6) == ["X", "A0", "Y", "A1", "Z", "A2"]


def test_roots_of_one_task_do_not_wait_for_those_of_another() -> None:
    turns = waiting([run(f"X{n}") for n in range(9)], [run("Y", task="u"), run("Z", task="u")])
    assert turns.is_uneven()
    assert [turns.is_turn_of(tree, 1) for tree in ("t", "u", "v")] == [False, False, True]
    assert taken(turns, 5) == ["X0", "Y", "X1", "Z", "X2"]


def test_what_is_taken_back_waits_no_more() -> None:
    turns = waiting(runs_of("A", 2), [*runs_of("B", 2), run("S", deaths=2)])
    assert turns.suspects == 1
    assert [run.id for run in turns.remove(lambda run: run.root_id in "AS")] == ["A0", "A1", "S"]
    assert (turns.count, turns.suspects, turns.next().id) == (2, 0, "B0")
    assert turns.remove(lambda _: False) == []
    assert taken(turns, 9) == ["B0", "B1"]


@pytest.mark.parametrize(
    ("trees", "is_uneven"),
    [([100], False), ([100, 100], False), ([100, 1], True), ([9, 9, 4], True), ([9] * 9 + [1], False)],
)
def test_a_small_tree_beside_a_large_one_is_seen(trees: list[int], is_uneven: bool) -> None:
    assert waiting(*(runs_of("ABCDEFGHIJK"[n], count) for n, count in enumerate(trees))).is_uneven() == is_uneven


def test_little_is_claimed_ahead_beside_a_small_tree_and_much_again_later() -> None:
    """What the small one spawns would wait for the commit of all that."""
    slots = Slots(1, 1, lambda: None)

    def ahead(runs: list[ClaimedRun]) -> int:
        slots._finished_lately = 1000
        slots.offer(runs)
        while slots.take():
            slots._free += 1
        return slots.demand()

    most = 0
    for _ in range(12):
        most = ahead(runs_of("A", 1))
    assert most > 1000
    assert slots.streams
    assert slots.turn("C", 1) == 0
    assert ahead([*runs_of("A", 30), *runs_of("B", 2)]) <= PREFETCH_BESIDE_SMALL
    assert not slots.streams
    slots.offer(runs_of("A", 3))
    turns = [slots.turn(root, priority) > 0 for root, priority in (("A", 1), ("C", 1), ("C", 0), ("C", 2), ("", 1))]
    assert turns == [False, True, False, True, True]
    for _ in range(REMEMBERED + 12):
        most = ahead(runs_of("A", 1))
    assert most > 1000
    assert slots.streams


@pytest.mark.parametrize("room", [1, 7, 100])
def test_one_claimed_run_in_eight_is_to_be_the_oldest_by_a_few_claims(room: int) -> None:
    """As to look for them takes as long as to claim."""
    claims, asked = Claims(one_at_a_time=True), list[int]()
    claims.begin(["t"])
    for _ in range(64):
        batch = Batch()
        claims.ready = True
        claims.plan(batch, Room(room))  # type: ignore[arg-type]
        assert batch.claim is not None
        asked.append(batch.claim.fair)
    assert sum(asked) == pytest.approx(64 * room / 8, abs=room / 2 + 1)
    assert sum(fair > 0 for fair in asked) <= 64 / 4
    assert max(asked) <= room


def test_a_small_trees_spawns_are_born_claimed_if_it_is_their_turn() -> None:
    claims = Claims(one_at_a_time=True)
    claims.begin(["t"])
    small, large = (SpawnKind("t", parent_id=id_ * 16, root_id=id_ * 16, parent_attempt=1) for id_ in (b"s", b"l"))
    spawns = [Spawn(kind, bytes([n]) * 16, b"", "{}") for n, kind in enumerate([small, large] * 3)]
    batch = Batch(spawns=spawns)
    claims.plan(batch, Room(0, {(b"s" * 16).hex().upper(): 2}))  # type: ignore[arg-type]
    assert [spawn.claimed for spawn in spawns] == [True, False, True, False, False, False]
    roots = [Spawn(SpawnKind(task), bytes([n]) * 16, None, "{}") for n, task in enumerate(["t", "u"] * 2)]
    claims.plan(Batch(spawns=roots), Room(0, {"u": 1}))  # type: ignore[arg-type]
    assert [spawn.claimed for spawn in roots] == [False, True, False, False]


class Room:
    def __init__(self, room: int = 4, turns: dict[str, int] | None = None) -> None:
        self._room = room
        self._turns = turns or {}

    def serves(self, _: str) -> bool:
        return True

    def turn(self, root: str, _: int) -> int:
        return self._turns.get(root, 0)

    def demand(self) -> int:
        return self._room

    def idle(self) -> bool:
        return False


def turns_after(claims: Claims, *runs: ClaimedRun) -> dict[str, str]:
    """What the claim after the one that brought these says."""
    for brought in (runs, ()):
        batch = Batch()
        claims.ready = True
        claims.plan(batch, Room())  # type: ignore[arg-type]
        claims.learn(batch, Committed(claimed=list(brought)))
    assert batch.claim is not None
    return json.loads(batch.claim.turns or "")


def test_the_next_claim_says_whose_turn_was_the_last() -> None:
    claims = Claims(one_at_a_time=True)
    claims.begin(["t"])
    assert turns_after(claims) == {}
    assert turns_after(claims, run("1", "A"), run("2", "B"), run("3", "A"), run("4", "Z", priority=7)) == {
        "1": "B",
        "7": "Z",
    }
    assert turns_after(claims, run("5", "C"), run("6", "A")) == {"1": "C", "7": "Z"}
    assert turns_after(claims, run("7", "A"), run("8", "B")) == {"1": "B", "7": "Z"}  # it is round


class OfManyTasks:
    """Each task has a root that is queued, and nothing else."""

    def __init__(self, tasks: int) -> None:
        self.ids = [f"{n:08X}" for n in range(tasks)]

    def priority(self, below: int) -> int | None:
        return None

    def roots(self, priority: int, after: Mapping[int, str]) -> dict[int, Root]:
        return {task: Root(self.ids[task], task) for task, last in after.items() if self.ids[task] > last}

    def heads(self, priority: int, roots: list[Root], count: int) -> list[list[str]]:
        assert count
        return [[root.id] for root in roots]


def test_no_more_roots_are_met_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tasks have some: a claim of a thousand tasks compared each with each."""
    met, meet = list[str](), _Walk.meet
    monkeypatch.setattr(_Walk, "meet", lambda *about: (met.append(about[1]), meet(*about))[1])
    queue = OfManyTasks(1000)
    turns = json.dumps({"1": queue.ids[994]})
    assert in_turns(queue, turns, 16, 1000, 1, lower=False) == [*queue.ids[995:], *queue.ids[:11]]
    assert len(met) == 17
    assert in_turns(queue, "{}", 1000, 1000, 1, lower=False) == queue.ids


def test_what_is_remembered_of_turns_is_bounded() -> None:
    claims = Claims(one_at_a_time=True)
    claims.begin(["t"])
    most = 0
    for priority in range(PRIORITIES + 10):
        last = turns_after(claims, run("1", "A", priority=priority))
        assert last[f"{priority}"] == "A"
        most = max(most, len(last))
    assert most <= PRIORITIES


def test_what_a_small_tree_waits_for_is_committed_without_a_claim_but_not_for_ever() -> None:
    claims, room = Claims(one_at_a_time=True), Room(turns={"0A": 16})
    claims.begin(["t"])

    def claims_with(root: int | None) -> bool:
        kind = SpawnKind("t", parent_id=b"\x0b", parent_attempt=1, root_id=bytes([root or 0]), depth=1)
        spawn = Spawn(kind, b"\x0c", bytes(16), "{}", 0)
        batch, claims.ready = Batch(spawns=[] if root is None else [spawn]), True
        claims.plan(batch, room)  # type: ignore[arg-type]
        assert spawn.claimed == (root == 0x0A)
        return batch.claim is not None

    assert [claims_with(0x0A) for _ in range(2 * LEFT_OUT + 2)] == ([False] * LEFT_OUT + [True]) * 2
    assert [claims_with(root) for root in (0x0A, None, 0x0A, 0x0B)] == [False, True, False, True]
