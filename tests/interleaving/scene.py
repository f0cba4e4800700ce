"""What the two play with: a tree in which everything is going on at once, four workers, and trees that are over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.json import encode

from fanwood import ManualClock
from fanwood.ids import SeededIds
from fanwood.model.budgets import Spend
from fanwood.model.commands import Attach, ClaimedRun, ClaimRequest, Hedge, Record, Spawn, SpawnKind, Suspend
from fanwood.model.matching import Wanted, inbox_mark, mark_of
from fanwood.model.states import Awaited, OnParentEnd, RunKind
from fanwood.store.forking import NewFork
from fanwood.store.postgres.chores import Places
from fanwood.store.postgres.shapes import KnownShapes
from tests.conformance.stage import Stage, completed, failed, handed_back, retried
from tests.interleaving.players import Player

TASKS = ("r", "c", "g", "q", "x", "o", "k")
HOUR = 3600.0


@dataclass(eq=False)
class Scene(Stage):
    """Runs by their names: a root `R`, which worker 2 executes, and below it

    - `c0` and `c1`, which the players' workers execute, and below each a queued `g0`, `g1`
    - `l`, which a worker executes that is lost, and below it a queued `gl`
    - queued `q0` and `q1`; `d`, whose retry is due; `x`, that was not begun in time; `f`, that failed

    and trees that are over: `O` with `o` below it, which failed, and `u` below that; `K`, which holds the key "k".
    """

    players: tuple[Player, Player]
    names: dict[bytes, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.ids = SeededIds(7)
        self.store = self.players[0].store
        self.sweeps = True
        self.worker = 0
        self.born_later: dict[str, bytes] = {}

    def id(self, name: str) -> bytes:
        """Of a run that is there, or that may be born by this name."""
        if name in self.runs:
            return self.runs[name].key
        if name not in self.born_later:
            self.born_later[name] = self.ids.new_id()
            self.names[self.born_later[name]] = name
        return self.born_later[name]

    def __getitem__(self, name: str) -> ClaimedRun:
        return self.runs[name]

    def mine(self, player: Player) -> ClaimedRun:
        """The child of the root that this player's worker executes."""
        return self.runs[f"c{player.number}"]

    def me(self, player: Player) -> int:
        return self.workers[player.number]

    def child(self, parent: ClaimedRun, name: str, task: str, *, attempt: int = 0, **about: Any) -> Spawn:
        """One that may be born, always under the same id."""
        id_ = self.id(name)
        own = {key: about.pop(key) for key in ("claimed", "child_key", "input_digest") if key in about}
        kind = SpawnKind(
            task, parent_id=parent.key, parent_attempt=attempt or parent.attempt, root_id=bytes.fromhex(parent.root_id),
            depth=parent.depth + 1, **about,
        )  # fmt: skip
        return Spawn(kind, id_, name.encode().ljust(16, b"."), "{}", **own)

    def new(self, player: Player, parent: ClaimedRun, task: str, **about: Any) -> Spawn:
        """The one that this player may bear."""
        return self.child(parent, f"new{player.number}", task, **about)

    def limit(self, run: ClaimedRun) -> tuple[bytes, int, int]:
        """What is below it ends soon."""
        return run.key, run.attempt, self.clock.now() + 99

    # --- how it is made ----------------------------------------------------------------------------------------------

    async def make(self) -> None:
        for name in ("w0", "w1", "w2"):
            self.workers.append(await self.register(TASKS, name=name, lease=HOUR))
        self.workers.append(await self.register(TASKS, name="lost", lease=1))
        for name in ("over", "key"):
            await getattr(self, f"_make_{name}")()
        root = self.runs["R"] = await self._running("R", "r", self.workers[2])
        for name, worker in (("c0", 0), ("c1", 1), ("l", 3)):
            child = self.runs[name] = await self._running(name, "c", self.workers[worker], root)
            await self._born(name.replace("c", "g") if name != "l" else "gl", "g", child)
        failing = self.runs["f"] = await self._running("f", "c", self.workers[2], root)
        await self.report(failed(failing), worker=self.workers[2])
        later = self.runs["d"] = await self._running("d", "c", self.workers[2], root)
        await self.report(retried(later, 5), worker=self.workers[2])
        for name in ("q0", "q1"):
            await self._born(name, "q", root)
        await self._born("x", "x", root, schedule_timeout=5_000_000)
        self.clock.advance(10)

    async def _make_over(self) -> None:
        top = self.runs["O"] = await self._running("O", "r", self.workers[2])
        child = self.runs["o"] = await self._running("o", "o", self.workers[2], top)
        lower = self.runs["u"] = await self._running("u", "u", self.workers[2], child)
        await self.report(completed(lower), failed(child), worker=self.workers[2])
        await self.report(completed(top), worker=self.workers[2])
        self.clock.advance(1)

    async def _make_key(self) -> None:
        await self.commit(self.workers[2], spawns=[self.keyed("K", "k")])
        (self.runs["K"],) = await self.claim(1, tasks=["k"], worker=self.workers[2])
        await self.report(completed(self.runs["K"]), worker=self.workers[2])

    def root(self, name: str, task: str, **about: Any) -> Spawn:
        own = {key: about.pop(key) for key in ("claimed",) if key in about}
        return Spawn(SpawnKind(task, **about), self.id(name), None, "{}", **own)

    def keyed(self, name: str, key: str) -> Spawn:
        return Spawn(SpawnKind("k"), self.id(name), key.encode().ljust(16, b"."), "{}", child_key=key)

    async def _born(self, name: str, task: str, parent: ClaimedRun | None = None, **about: Any) -> bytes:
        if parent is not None:
            spawn = self.child(parent, name, task, **about)
        else:
            spawn = Spawn(SpawnKind(task, **about), self.id(name), None, "{}")
        await self.commit(self.workers[2], spawns=[spawn])
        return spawn.id

    async def _running(self, name: str, task: str, worker: int, parent: ClaimedRun | None = None) -> ClaimedRun:
        id_ = await self._born(name, task, parent)
        (run,) = await self.claim(1, tasks=[task], worker=worker)
        assert run.key == id_
        return run

    # --- what a routine may want beside that -------------------------------------------------------------------------

    async def asleep(self) -> None:
        """The root sleeps."""
        await self.commit(self.workers[2], records=[self.part(self["R"], "z", id=self.id("z"))])

    async def due(self) -> None:
        """... and has slept long enough."""
        self.clock.advance(6)

    async def in_time(self) -> None:
        """Nobody was begun too late: a tick does one thing after the other, and who comes between them meets half."""
        await self.store.cancel(self.id("x"), "before")

    async def woken_by_cancel(self) -> None:
        """... or its sleep was cancelled, and it tries again."""
        await self.store.cancel(self.id("z"), "before")
        await self.second_trial()

    def again(self, name: str) -> Record:
        """What the root's attempt before had asked for."""
        record = self.part(self["R"], name, id=self.id(name))
        record.again = True
        return record

    async def closed(self) -> None:
        """The root was cancelled, and nothing below it is swept."""
        self.sweeps = False
        await self.store.cancel(self["R"].key, "before")

    async def paused(self) -> None:
        """All is paused, and what is queued was met by a claim."""
        await self.store.pause(self["R"].key, "before")
        await self.commit(self.workers[0], claim=ClaimRequest('["q","g","c"]', 9))

    async def resumed(self) -> None:
        """... and that was taken back: what waits for it is not queued yet."""
        await self.paused()
        await self.store.resume(self["R"].key)

    async def urged(self) -> None:
        """All was given another priority, and nobody has heard of it yet."""
        await self.store.reprioritize(self["R"].key, 5, "before")

    async def childless(self) -> None:
        """A run executes that has no children yet."""
        self.runs["s"] = await self._running("s", "s", self.workers[2], self["R"])

    async def suspended(self) -> None:
        """The root is suspended, and goes on when both players' runs have ended."""
        awaited = [(self[name].key, int(Awaited.ONE_OF)) for name in ("c0", "c1")]
        await self.commit(self.workers[2], suspends=[Suspend(self["R"].key, self["R"].attempt, awaited, 2)])

    def waits(self, kind: RunKind, name: str = "e") -> Record:
        """The root waits for what comes from outside: an event, or a message."""
        mark = mark_of(Wanted("paid")) if kind is RunKind.EVENT else inbox_mark(self["R"].key, "paid")
        made = self.part(self["R"], name, kind=kind, id=self.id(name), awaits=mark)
        made.input = encode(Wanted("paid")).decode()
        return made

    def link(self, name: str, parent: ClaimedRun, shared: str) -> Record:
        """A link of a run to what others may share: born under this name, if it is not there."""
        root = self["R"]
        kind = SpawnKind("k", parent_id=root.key, root_id=root.key, depth=1, on_parent_end=OnParentEnd.SHARED)
        share = Spawn(kind, self.id(shared), None, "{}", input_digest=b"shared".ljust(16, b"."))
        return self.part(parent, name, kind=RunKind.SHARE, id=self.id(name), share=share)

    async def shared(self) -> None:
        """Each player's run has a link to what the root's worker executes."""
        links = [self.link(f"k{n}", self[f"c{n}"], "S") for n in (0, 1)]
        await self.commit(self.workers[2], records=links)
        (self.runs["S"],) = await self.claim(1, tasks=["k"], worker=self.workers[2])

    def hedge(self, number: int) -> Hedge:
        """Of a player's run."""
        target, root = self[f"c{number}"], self["R"]
        kind = SpawnKind(f"h{number}", parent_id=root.key, parent_attempt=root.attempt, root_id=root.key, depth=1)
        return Hedge(Spawn(kind, self.id(f"h{number}"), None, "{}"), target.key, 5_000_000)

    async def helped(self) -> None:
        """Each player's run has a hedge, that the other's worker executes."""
        again = [Attach(self.hedge(n).spawn.kind, self[f"c{n}"].key) for n in (0, 1)]
        await self.commit(self.workers[2], attaches=again, hedges=[self.hedge(n) for n in (0, 1)])
        await self.in_time()
        await self.due()
        await self.store.tick()
        for n in (0, 1):
            (self.runs[f"h{n}"],) = await self.claim(1, tasks=[f"h{n}"], worker=self.workers[1 - n])

    def spending(self, number: int, name: str, amount: int, of: bytes | None) -> Spend:
        """One of a run, always under the same id."""
        return Spend(self[name].key, 1, self.id(f"spend{number}"), {"usd": amount}, of=of)

    async def budgeted(self) -> None:
        """A tree `A` with a budget, below it `B` with a part of that, and below that `b0` and `b1`, which the players'
        workers execute, and which have reserved something; there is room for one more run."""
        if "A" in self.runs:
            return
        for name, parent, worker, part in (
            ("A", None, 2, (("usd", 20), ("~runs", 9))), ("B", "A", 2, (("usd", 10), ("~runs", 3))),
            ("b0", "B", 0, None), ("b1", "B", 1, None),
        ):  # fmt: skip
            spawn = self.child(self[parent], name, name, part=part) if parent else self.root(name, name, part=part)
            await self.commit(self.workers[2], spawns=[spawn])
            (self.runs[name],) = await self.claim(1, tasks=[name], worker=self.workers[worker])
        held = [Spend(self[f"b{n}"].key, 1, self.id(f"held{n}"), {"usd": 3}, reserve=True) for n in (0, 1)]
        assert await self.store.spend(held) == [None, None]

    async def part_over(self) -> None:
        """`B` has failed, and what was below it is swept: what is left of its part is `A`'s again."""
        await self.budgeted()
        await self.report(failed(self["B"], closes=True, local=False), worker=self.workers[2])
        await self.sweep()

    async def forked(self) -> None:
        """What is over has a fork that is over as well."""
        await self.store.fork(NewFork(self.id("F"), self["o"].key, "{}"))
        await self.store.cancel(self.id("F"), "before")

    async def waiting(self) -> None:
        """It does, for an event."""
        await self.commit(self.workers[2], records=[self.waits(RunKind.EVENT)])

    async def receiving(self) -> None:
        """... for a message."""
        await self.commit(self.workers[2], records=[self.waits(RunKind.MESSAGE)])

    async def promised(self) -> None:
        """... for a promise, for five seconds."""
        part = self.part(self["R"], "p", kind=RunKind.PROMISE, id=self.id("p"), timeout=5_000_000)
        await self.commit(self.workers[2], records=[part])

    async def late(self) -> None:
        """A run executes whose deadline has passed, and so has that of another one, which is queued."""
        for name, task in (("late", "l"), ("later", "m")):
            spawn = self.child(self["R"], name, task, deadline=self.clock.now() - 1_000_000, deadline_by=self["R"].key)
            await self.commit(self.workers[2], spawns=[spawn])
        (self.runs["late"],) = await self.claim(1, tasks=["l"], worker=self.workers[2])

    async def second_trial(self) -> None:
        """The root failed, and tries again: its second attempt may ask for what the first one asked for."""
        await self.report(retried(self["R"]), worker=self.workers[2])
        (self.runs["R"],) = await self.claim(1, tasks=["r"], worker=self.workers[2])

    async def handed_back(self) -> None:
        """Of the players' runs none is executed; they are queued."""
        for number in (0, 1):
            await self.report(handed_back(self[f"c{number}"]), worker=self.workers[number])

    async def watched(self) -> None:
        """Both players' workers wait for each other's run."""
        for number in (0, 1):
            await self.commit(self.workers[number], watch=[self[f"c{1 - number}"].key])

    async def limited(self) -> None:
        """What is below the players' runs has its deadline from them, and that has moved."""
        for number in (0, 1):
            run = self[f"c{number}"]
            near = self.clock.now() + 1_000_000
            spawn = self.child(run, f"limited{number}", "g", deadline=near, deadline_by=run.key)
            await self.commit(self.workers[number], spawns=[spawn])

    async def moved(self) -> None:
        """... and nobody has been told."""
        for number in (0, 1):
            run = self[f"c{number}"]
            await self.commit(self.workers[number], deadlines=[(run.key, 1, self.clock.now() + 50)])

    async def over(self) -> None:
        """The tree of the root is over."""
        await self.store.cancel(self["R"].key, "before")
        await self.sweep()

    # --- turn by turn ------------------------------------------------------------------------------------------------

    def resetter(self) -> Callable[[], None]:
        """Puts back what the players' stores know of themselves, to how it is now."""
        seqs: dict[int, int] = {}
        for player in self.players:
            for worker, seq in player.store._seqs.items():
                seqs[worker] = max(seq, seqs.get(worker, 0))

        def reset() -> None:
            for player in self.players:
                player.store._seqs = dict(seqs)
                player.store._read, player.store._unanswered = [], None
                player.store.places = Places()
                player.store._shapes_known = KnownShapes()

        return reset
