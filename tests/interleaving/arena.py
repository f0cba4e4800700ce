"""A database with a copy of our functions that can be stopped, and duels in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import product

import pytest

from fanwood import ManualClock
from fanwood.store.postgres import connection, gates
from tests.interleaving.duel import Duel, Ground, Outcome, namer
from tests.interleaving.players import Player, asyncio_for_players, player
from tests.interleaving.routines import DECLARED, DECLARED_OF, Routine
from tests.interleaving.scene import Scene
from tests.interleaving.stops import STEPS, instrumented
from tests.postgres.stores import connected

BORN = ("new", "part", "h", "spend", "link", "shared")
"""By either player."""


@dataclass
class Found:
    """What came of a pair."""

    schedules: int = 0
    passed_by: int = 0
    crosswise: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)  # what differs from the order that it is nearest to

    def summary(self) -> str:
        return (
            f"{self.schedules} schedules, {self.passed_by} passed something by, {self.crosswise} met crosswise, "
            f"{len(self.wrong)} wrong"
        )

    def told(self) -> str:
        """What was wrong, each thing once."""
        alike: dict[str, list[str]] = {}
        for schedule, differences in self.wrong.items():
            alike.setdefault("\n    ".join(["", *differences]), []).append(schedule)
        return "\n".join(f"{len(them)} times: {them[0]} ... {them[-1]}{what}" for what, them in alike.items())


def undeclared(differences: list[str], pair: str = "") -> list[str]:
    patterns = [*DECLARED, *DECLARED_OF.get(pair, ())]
    return [line for line in differences if not any(re.search(pattern, line) for pattern in patterns)]


@dataclass
class Arena:
    ground: Ground
    players: tuple[Player, Player]

    async def duel(self, first: Routine, second: Routine) -> Duel:
        """A new scene, prepared for these two."""
        await self.ground.empty()
        for who in self.players:
            who.store._seqs, who.store._read, who.store._unanswered = {}, [], None
        scene = Scene(self.players)
        for who in self.players:
            who.store._clock = scene.clock
        await scene.make()
        prepares = dict.fromkeys(first.prepare + second.prepare)
        first_of_all = (Scene.helped, Scene.shared)  # (below what is closed or paused nothing would be claimed)
        for prepare in sorted(prepares, key=lambda each: (each is Scene.suspended) - (each in first_of_all)):
            await prepare(scene)
        await self.ground.keep()
        calls = (lambda p: first.call(scene, p)), (lambda p: second.call(scene, p))
        for name in ("born", "begun", "keyed", "e", *(f"{name}{n}" for name in BORN for n in (0, 1))):
            scene.id(name)
        return Duel(self.ground, self.players, calls, scene.resetter(), namer(scene.names), scene.sweep)

    @asynccontextmanager
    async def planted(self, old: str, new: str) -> AsyncIterator[None]:
        """Functions with a fault."""
        right = instrumented()
        wrong = {name: text for name, text in instrumented((old, new)).items() if text != right[name]}
        await self.ground.raw.execute("\n".join(wrong.values()))
        try:
            yield
        finally:
            await self.ground.raw.execute("\n".join(right[name] for name in wrong))

    async def interleave(
        self, first: Routine, second: Routine, *, within: bool, twice: bool = False, until_wrong: bool = False
    ) -> Found:
        """All schedules of two routines. `within`: also those that stop within a statement; `twice`: also those that
        stop both."""
        duel, found, pair = await self.duel(first, second), Found(), f"{first.name}/{second.name}"
        passing = [number for number, routine in enumerate((first, second)) if routine.passes_by]
        orders, stops = zip(*[await duel.in_order(begins) for begins in (0, 1)], strict=True)
        if not within:
            stops = [[stop for stop in each if not stop.within] for each in stops]
        later: dict[frozenset[int], list[Outcome]] = {}
        for begins in (0, 1):
            for stop, then in product(stops[begins], [None, *(stops[1 - begins] if twice else ())]):
                duel.again = duel.unheard = ()
                outcome = await duel.interleaved(begins, stop, then)
                found.schedules += 1
                found.crosswise += outcome.crosswise
                differences = [undeclared(outcome.differences(order), pair) for order in orders]
                if all(differences) and passing:
                    found.passed_by += 1
                    duel.again = duel.unheard = passing
                    duel.claims = {n: orders[0].replies[n].took | orders[1].replies[n].took for n in passing}
                    outcome = await duel.interleaved(begins, stop, then)
                    differences = [
                        undeclared(outcome.differences(order), pair)
                        for order in await _once_more(duel, passing, outcome.passed_all, later)
                    ]
                if all(differences):
                    one, two = (first.name, second.name)[:: 1 - 2 * begins]
                    upto = f" up to [{then.label}]" if then else ""
                    found.wrong[f"{one} up to [{stop.label}], then {two}{upto}"] = min(differences, key=len)
                    if until_wrong:
                        return found
        return found


async def _once_more(
    duel: Duel, passing: list[int], passed_all: frozenset[int], known: dict[frozenset[int], list[Outcome]]
) -> list[Outcome]:
    """Both orders, with one more turn for each who may pass something by; but for those who have passed all by: they
    had none, and what they did is what they do in one."""
    if passed_all not in known:
        duel.again = [number for number in passing if number not in passed_all]
        known[passed_all] = [(await duel.in_order(each))[0] for each in (0, 1)]
    return known[passed_all]


@asynccontextmanager
async def arena(url: str) -> AsyncIterator[Arena]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "asyncio", asyncio_for_players())
        patch.setattr(gates, "BUDGET", 600_000_000)  # so that it takes as many calls each time
        patch.setattr(connection, "HELD_SECONDS", 600)
        async with connected(url) as raw, connected(url) as watcher:
            name = await raw.fetchval("select current_database()")
            await raw.execute(f"alter database {name} set deadlock_timeout = '20ms'")
            await raw.execute(STEPS)
            await raw.execute("\n".join(instrumented().values()))
            ground = Ground(raw, watcher)
            await ground.prepare()
            players = player(0, url, ManualClock()), player(1, url, ManualClock())
            try:
                for who in players:
                    await who.store.open(lambda: None)
                yield Arena(ground, players)
            finally:
                for who in players:
                    await who.store.close()
