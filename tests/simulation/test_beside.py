"""What worlds know of shared runs, hedges, budgets and lives speaks: each fault is planted into a memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from fanwood import BudgetExceeded
from fanwood.model.budgets import Limit, Spent
from fanwood.model.states import OnParentEnd, RunKind, RunState, Waits
from tests.simulation.parts import Asked, Parts
from tests.simulation.spending import Purse
from tests.simulation.test_invariants import Scene

SHARED = int(OnParentEnd.SHARED)


def _is_shared_twice(scene: Scene) -> None:
    for id_ in (b"one", b"other"):
        scene.tables.add(replace(scene.child, id=id_, identity=None, on_parent_end=SHARED))


def _goes_on_unwanted(scene: Scene) -> None:
    target = b"0123456789abcdef"
    scene.tables.add(replace(scene.child, id=target, identity=None, on_parent_end=SHARED))
    about: dict[str, Any] = {"kind": int(RunKind.SHARE), "state": int(RunState.WAITING), "waits": int(Waits.SHARE)}
    link = replace(scene.child, id=b"link", identity=b"link", awaits=target + bytes(16), **about)
    scene.tables.add(link)
    scene.tables.change(link, waits=None)
    scene.end(link, RunState.CANCELLED)


def _goes_on_though_its_first_ended(scene: Scene) -> None:
    scene.tables.add(replace(scene.child, id=b"hedge", identity=None, awaits=b"child"))
    scene.claim(scene.child)
    scene.end(scene.child, RunState.COMPLETED)


def _does_not_complete_its_first(scene: Scene) -> None:
    hedge = replace(scene.child, id=b"hedge", identity=None, awaits=b"child")
    scene.tables.add(hedge)
    scene.claim(hedge)
    scene.end(hedge, RunState.COMPLETED)


def _is_the_second(scene: Scene) -> None:
    for id_ in (b"one", b"other"):
        scene.tables.add(replace(scene.child, id=id_, identity=None, awaits=b"child"))


def _limit(scene: Scene, **about: Any) -> Limit:
    limit = Limit(b"root", "gold", b"root", b"root", amount=10, **about)
    scene.tables.budgets[b"root"] = {"gold": limit}
    return limit


def _spends(scene: Scene, amount: int, **about: Any) -> None:
    spent = Spent(b"root", b"x", "gold", b"root", b"root", 1, amount, **about)
    scene.tables.spends[b"root"] = {(b"x", "gold"): spent}


def _is_overdrawn(scene: Scene) -> None:
    _limit(scene, used=11)
    _spends(scene, 11)


def _is_not_counted(scene: Scene) -> None:
    _limit(scene, used=1)
    _spends(scene, 2)


def _is_held_for_nobody(scene: Scene) -> None:
    _limit(scene, held=2)
    _spends(scene, 2, held=1)
    scene.end(scene.child, RunState.CANCELLED)
    scene.end(scene.root)


def _is_open_for_nobody(scene: Scene) -> None:
    _limit(scene)
    scene.end(scene.child, RunState.CANCELLED)
    scene.end(scene.root)


PLANTED = {
    "is the same as": _is_shared_twice,
    "nobody waits for it any more": _goes_on_unwanted,
    "and its hedge": _goes_on_though_its_first_ended,
    "whose hedge it is": _does_not_complete_its_first,
    "a second hedge": _is_the_second,
    "used and 0 held of 10": _is_overdrawn,
    "all that was charged is 2": _is_not_counted,
    "attempts that are over": _is_held_for_nobody,
    "is open": _is_open_for_nobody,
}


@pytest.mark.parametrize("said", PLANTED)
def test_what_must_not_be_is_told(said: str) -> None:
    scene = Scene()
    scene.watch.settle(scene.memory.now())
    assert not scene.said
    PLANTED[said](scene)
    scene.watch.settle(scene.memory.now())
    assert any(said in found for found in scene.said), scene.said


def test_what_was_spent_is_written_and_nothing_else() -> None:
    scene = Scene()
    purse = Purse(SimpleNamespace(tables=scene.tables, tell=list))  # type: ignore[arg-type]
    begun, done = purse._begun.setdefault(b"root", {}), purse._done.setdefault(b"root", set())
    begun |= {1: 2.0, 2: 0.5}
    done.add(1)
    for amount, sound in ((2_000_000, True), (2_500_000, True), (1_999_999, False), (2_500_001, False)):
        _spends(scene, amount)
        assert (not list(purse.at_the_end())) is sound
    scene.tables.spends.clear()
    assert list(purse.at_the_end())


def test_who_is_refused_what_there_is_says_so() -> None:
    purse = Purse(SimpleNamespace())  # type: ignore[arg-type]
    error = BudgetExceeded("no")
    error.limit, error.most, error.used, error.wanted, error.owner = "gold", 10, 8, 3, "x"
    assert not list(purse.refused(error))
    error.wanted = 2
    assert list(purse.refused(error))


def test_what_was_recorded_in_a_life_before_is_not_found() -> None:
    scene = Scene()
    parts = Parts(scene.tables, scene.ground.now, scene.watch)
    about: dict[str, Any] = {"kind": int(RunKind.SLEEP), "state": int(RunState.COMPLETED), "finished_at": 1}
    scene.tables.add(replace(scene.child, id=b"nap", identity=b"nap", asked=1, input='{"for":5.0}', **about))
    nap = Asked({"for": 5.0}, 5.0, None, scene.child.created_at)
    assert parts.find(b"root", RunKind.SLEEP, nap.said) is not None
    scene.root.life = "[1,2,0]"
    assert parts.find(b"root", RunKind.SLEEP, nap.said) is None
    assert parts.find(b"root", RunKind.SLEEP, nap.said, of_old=True) is not None
