"""One stream of random commands, on every backend at once: the same answers, and the same rows, column by column."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from fanwood import RunState, SeededIds, Settings, UsageError
from fanwood.model.commands import (
    SUSPECT_DEATHS,
    Attach,
    ClaimRequest,
    Hedge,
    LogLine,
    Outcome,
    Record,
    Spawn,
    SpawnKind,
)
from fanwood.model.forks import Fork
from fanwood.model.lives import life_of
from fanwood.model.records import Walk
from fanwood.model.states import TERMINAL, OnParentEnd, RunKind
from fanwood.store.auditing import audited, findings
from fanwood.store.forking import NewFork
from fanwood.store.many import Came, Deed
from fanwood.store.memory.tables import Run
from fanwood.store.opening import store_for
from fanwood.store.store import START
from tests.chaos.scale import scaled
from tests.conformance.stage import FAILURE, SECOND, MakeStore, Stage, digest
from tests.postgres.databases import Databases

FIRST = 57
"""A seed that has every kind of command succeed, with the next one."""
SEEDS = range(FIRST, FIRST + scaled(12, 2))
STEPS = 120
MANY = 40
"""Runs, after which there are no more, so that commands meet on one."""
TASKS = '["a","b"]'
POLICIES = (OnParentEnd.DEFAULT, OnParentEnd.CANCEL, OnParentEnd.CONTINUE)
"""Of children that somebody asks for."""
TIMES = ("created_at", "started_at", "finished_at", "due_at", "expires_at", "deadline", "limit_at")
COLUMNS = Run.__struct_fields__
"""In the order of copies."""
MILLISECOND = 1000
"""Transactions mark themselves by a microsecond each, where the clock stands still."""

Reply = Any


class Stream:
    """Random commands, and the stages that they are given to."""

    def __init__(self, stages: dict[str, Stage], seed: int) -> None:
        self.stages = stages
        self.random = random.Random(seed)
        self.ids = SeededIds(seed)
        self.attempts: dict[bytes, int] = {}  # of all runs, as claims told
        self.turns = "{}"
        self.about: dict[bytes, dict[str, Any]] = {}
        self.holders: dict[bytes, int] = {}
        self.parts: dict[bytes, bytes] = {}  # what no worker executes, and whose it is
        self.links: dict[bytes, tuple[bytes, str]] = {}  # to what is shared: whose they are, and to what
        self.linked: set[bytes] = set()  # ... all that there ever were
        self.shared: set[bytes] = set()
        self.workers: list[int] = []
        self.suspected = False
        self.rows: dict[bytes, dict[str, Any]] = {}
        self.story: list[str] = []
        self.succeeded: Counter[str] = Counter()
        self.told: dict[str, set[tuple[int, bytes]]] = {name: set() for name in stages}
        # On PostgreSQL whoever is told of something by his own commit gets all his mail with it.
        self.known: set[tuple[int, bytes]] = set()
        self.revived: set[bytes] = set()  # of whose first end nobody may be told, if he reads his mail after it

    async def on_all(self, what: str, command: Callable[[Stage], Awaitable[Reply]]) -> Reply:
        """Of all the same answer, which is this."""
        replies = {name: await command(stage) for name, stage in self.stages.items()}
        self.story.append(what)
        first = next(iter(replies.values()))
        assert all(reply == first for reply in replies.values()), self.told_of(replies)
        return first

    def told_of(self, replies: dict[str, Reply]) -> str:
        """The last commands, and what differs."""
        lines = [line for line in self.story if line not in ("rows", "due")][-40:]
        first = next(iter(replies.values()))
        for name, reply in replies.items():
            if isinstance(reply, dict) and isinstance(first, dict):
                for key in {**first, **reply}:
                    one, other = first.get(key), reply.get(key)
                    if one != other and isinstance(one, dict) and isinstance(other, dict):
                        one = {k: v for k, v in one.items() if other.get(k) != v}
                        other = {k: v for k, v in other.items() if k not in first[key] or k in one}
                    if one != other:
                        lines.append(f"  {name}: {key.hex()}: {other} instead of {one}")
            elif reply != first:
                lines.append(f"  {name}: {reply} instead of {first}")
        return "\n".join(lines)

    async def begin(self) -> None:
        for _ in range(3):
            await self.enter()

    async def enter(self) -> None:
        worker = await self.on_all("register", lambda stage: stage.register())
        self.workers.append(worker)

    # --- which -----------------------------------------------------------------------------------------------------

    def a_run(self) -> bytes:
        return self.random.choice(list(self.about))

    def an_attempt(self) -> tuple[bytes, int]:
        """Most often one that may be current."""
        held = [id_ for id_ in self.holders if id_ in self.about]
        id_ = self.random.choice(held) if held and self.random.random() < 0.9 else self.a_run()
        return id_, self.attempts.get(id_, 0) - (self.random.random() < 0.1)

    def worker_of(self, id_: bytes) -> int:
        holder = self.holders.get(id_, 0)
        return holder if holder in self.workers else self.workers[0]

    # --- commands --------------------------------------------------------------------------------------------------

    async def spawn(self) -> bool:
        chance = self.random.random
        about: dict[str, Any] = {"task": self.random.choice("ab"), "priority": self.random.randint(0, 2)}
        if chance() < 0.2:
            about["schedule_timeout"] = self.random.randint(1, 20) * SECOND
        key = f"key {self.random.randint(0, 3)}" if chance() < 0.15 else None
        claimed = key is None and chance() < 0.2
        return await self.born(about, None, 1, key=key, claimed=claimed)

    async def spawn_children(self) -> bool:
        parent, attempt = self.an_attempt()
        about: dict[str, Any] = {
            "task": self.random.choice("ab"),
            "on_parent_end": self.random.choice(POLICIES),
            "parent_id": parent,
            "parent_attempt": attempt,
            "root_id": self.about[parent]["root"],
            "depth": self.about[parent]["depth"] + 1,
            "metadata": '{"x":1}' if self.random.random() < 0.2 else None,
        }
        if self.random.random() < 0.3:
            about |= {"deadline": self.now() + self.random.randint(1, 20) * SECOND, "deadline_by": parent}
        if self.random.random() < 0.3:
            about["schedule_timeout"] = self.random.randint(1, 20) * SECOND
        return await self.born(about, parent, self.random.choice([1, 2, 10]), claimed=self.random.random() < 0.3)

    async def born(
        self, about: dict[str, Any], parent: bytes | None, count: int, *, key: str | None = None, claimed: bool = False
    ) -> bool:
        worker = self.worker_of(parent or b"")
        ids = [self.ids.new_id() for _ in range(count)]
        kind = SpawnKind(**about)

        def spawns() -> list[Spawn]:
            own = digest(key) if key else None
            return [
                Spawn(kind, id_, id_ if parent else own, f'"{n}"', n, key, own, claimed=claimed)
                for n, id_ in enumerate(ids)
            ]

        async def commit(stage: Stage) -> Reply:
            asked = spawns()
            done = await stage.commit(worker, spawns=asked)
            self.known.update((worker, id_) for id_ in done.finished)
            began = [spawn.claimed for spawn in asked if not done.fenced_parents]
            return done.fenced_parents, {id_: found.id for id_, found in done.taken.items()}, began

        fenced, taken, began = await self.on_all(f"spawn {about} {key} {claimed}", commit)
        if fenced or taken:
            return False
        root = about.get("root_id")
        for id_, begins in zip(ids, began, strict=True):
            self.about[id_] = {"root": root or id_, "depth": about.get("depth", 0), "parent": parent, "kind": kind}
            self.attempts[id_] = int(begins)
            if begins:
                self.holders[id_] = worker
        return True

    def now(self) -> int:
        return next(iter(self.stages.values())).clock.now()

    async def claim(self) -> bool:
        worker, limit = self.random.choice(self.workers), self.random.randint(1, 5)
        fair = 0 if self.suspected else self.random.randint(0, 1)  # who is the oldest beside suspects is not fixed
        turns = [None, "{}", self.turns][limit % 3]
        request = ClaimRequest(TASKS, limit, fair, self.random.random() < 0.5, turns=turns)

        async def commit(stage: Stage) -> Reply:
            done = await stage.commit(worker, claim=request)
            self.known.update((worker, id_) for id_ in done.finished)
            self.turns = json.dumps({run.priority: run.root_id for run in done.claimed})
            return [(run.key, run.attempt, run.deaths, run.trial_start, run.deadline) for run in done.claimed]

        claimed = await self.on_all(f"claim {worker} {request}", commit)
        for id_, attempt, *_ in claimed:
            self.attempts[id_] = attempt
            self.holders[id_] = worker
        return bool(claimed)

    async def report(self, how: Callable[[bytes, int, bool], Outcome]) -> bool:
        id_, attempt = self.an_attempt()
        worker, parent = self.worker_of(id_), self.about[id_]["parent"]
        local = parent is None or self.worker_of(parent) == worker

        async def commit(stage: Stage) -> Reply:
            outcome = how(id_, attempt, local)
            done = await stage.commit(worker, outcomes=[outcome])
            self.known.update((worker, id_) for id_ in done.finished)
            ends = outcome.state is not RunState.QUEUED  # of others nobody cares whether they counted
            return done.fenced_outcomes if ends else set()

        fenced = await self.on_all(f"report {how(id_, attempt, local)}", commit)
        if not fenced:
            self.holders.pop(id_, None)
        return not fenced

    async def complete(self) -> bool:
        return await self.report(
            lambda id_, n, local: Outcome(id_, n, RunState.COMPLETED, "1", closes=True, busy=5, local=local)
        )

    async def fail(self) -> bool:
        return await self.report(
            lambda id_, n, local: Outcome(id_, n, RunState.FAILED, None, FAILURE, closes=True, local=local)
        )

    async def retry(self) -> bool:
        delay = self.random.choice([0, 3 * SECOND])
        return await self.report(
            lambda id_, n, _: Outcome(id_, n, RunState.QUEUED, None, FAILURE, retry=True, delay=delay)
        )

    async def hand_back(self) -> bool:
        delay = self.random.choice([0, 0, 0, 3 * SECOND])  # (by a worker that lacks the code)
        error = '{"kind":"unserved"}' if delay else None
        return await self.report(lambda id_, n, _: Outcome(id_, n, RunState.QUEUED, None, error, delay=delay))

    async def start_over(self) -> bool:
        text = json.dumps(self.random.randint(1, 9))
        return await self.report(lambda id_, n, _: Outcome(id_, n, RunState.QUEUED, text, renews=True))

    async def attach(self) -> bool:
        children = [id_ for id_, about in self.about.items() if about["parent"] is not None and id_ not in self.shared]
        if not children:
            return False
        child = self.random.choice(children)
        parent, kind = self.about[child]["parent"], self.about[child]["kind"]
        deadline = self.now() + 9 * SECOND if self.random.random() < 0.5 else None
        about = {"deadline": deadline, "deadline_by": parent if deadline else None, "on_parent_end": kind.on_parent_end}

        async def commit(stage: Stage) -> Reply:
            asked = SpawnKind(kind.task, parent, self.attempts[parent], self.about[child]["root"], kind.depth, **about)
            done = await stage.commit(self.worker_of(parent), attaches=[Attach(asked, child)])
            found = {number: (one.id, one.state, one.matches, one.output) for number, one in done.attached.items()}
            return done.fenced_parents, found

        fenced, _ = await self.on_all(f"attach {child.hex()} {about}", commit)
        return not fenced

    async def move_deadline(self) -> bool:
        id_, attempt = self.an_attempt()
        when = self.now() + self.random.randint(1, 20) * SECOND

        async def commit(stage: Stage) -> Reply:
            return (await stage.commit(self.worker_of(id_), deadlines=[(id_, attempt, when)])).has_closed

        return await self.on_all(f"move {id_.hex()} {attempt} {when}", commit)

    async def log(self) -> bool:
        id_, attempt = self.an_attempt()
        line = LogLine(id_, attempt, 1, self.random.choice(["info", "progress"]), "said")

        async def commit(stage: Stage) -> Reply:
            await stage.commit(self.worker_of(id_), logs=[line])
            return await _lines(stage, id_)

        return bool(await self.on_all(f"log {line}", commit))

    async def watch(self) -> bool:
        id_, worker = self.a_run(), self.random.choice(self.workers)

        async def commit(stage: Stage) -> Reply:
            done = await stage.commit(worker, watch=[id_])
            return done.unknown, {run: (end.state, end.output) for run, end in done.finished.items() if run == id_}

        unknown, _ = await self.on_all(f"watch {id_.hex()}", commit)
        return not unknown

    async def cancel(self) -> bool:
        id_ = self.random.choice([*self.about, *self.parts])

        async def cancel(stage: Stage) -> Reply:
            return await stage.store.cancel(id_, "said")

        return await self.on_all(f"cancel {id_.hex()}", cancel)

    async def record(self) -> bool:
        """A step or a sleep; or one that had failed or been cancelled, done again."""
        parent, attempt = self.an_attempt()
        mine = [id_ for id_, of in self.parts.items() if of == parent and id_ not in self.links]
        again = bool(mine) and self.random.random() < 0.5
        id_ = self.random.choice(mine) if again else self.ids.new_id()
        sleeps = self.random.random() < 0.6
        deadline = self.now() + self.random.randint(1, 20) * SECOND if self.random.random() < 0.3 else None
        kind = SpawnKind(
            "~sleep" if sleeps else "~step", parent, attempt, self.about[parent]["root"],
            self.about[parent]["depth"] + 1, deadline=deadline, deadline_by=parent if deadline else None,
            on_parent_end=OnParentEnd.CANCEL, run_kind=RunKind.SLEEP if sleeps else RunKind.RECORDED,
        )  # fmt: skip
        fails = not sleeps and self.random.random() < 0.5
        state = RunState.WAITING if sleeps else RunState.FAILED if fails else RunState.COMPLETED
        due = self.now() + self.random.randint(0, 9) * SECOND if sleeps else None
        record = Record(
            kind, id_, id_, '"part"', state, len(mine), None, None if sleeps or fails else "1",
            FAILURE if fails else None, self.now() - SECOND if self.random.random() < 0.5 else None, due, again=again,
        )  # fmt: skip

        async def commit(stage: Stage) -> Reply:
            return (await stage.commit(self.worker_of(parent), records=[record])).fenced_parents

        fenced = await self.on_all(f"record {record}", commit)
        if not fenced:
            self.parts[id_] = parent
        return not fenced

    async def fork(self) -> bool:
        """A root that is made of a run; and what is there to be copied, and which forks there are."""
        ended = [one for one in self.about if self.rows.get(one, {}).get("state", 0) >= RunState.COMPLETED]
        of, id_, changed = self.random.choice(ended or list(self.about)), self.ids.new_id(), self.random.randint(0, 1)
        way = self.random.choice([None, *self.about])
        new = NewFork(id_, of, Fork(of.hex()).text, '"other"' if changed else None, way, changed, "ann")

        async def fork(stage: Stage) -> Reply:
            kept = await stage.store.kept(of, way, b"", 9, 3)
            try:
                return await stage.store.fork(new), kept, len(await stage.store.forks(of))
            except UsageError as error:
                return False, kept, str(error)

        made, *_ = await self.on_all(f"fork {new}", fork)
        if made:
            kind = SpawnKind(self.rows[of]["task"])
            self.about[id_] = {"root": id_, "depth": 0, "parent": None, "kind": kind}
            self.attempts[id_] = 0
        return made

    async def copy(self) -> bool:
        """A child that is born as a copy of another run, and one that is born in a fork."""
        parent, attempt = self.an_attempt()
        root, depth = self.about[parent]["root"], self.about[parent]["depth"] + 1
        ids, text = [self.ids.new_id(), self.ids.new_id()], Fork(parent.hex(), "copy").text
        kind = SpawnKind(
            "a", parent, attempt, root, depth, on_parent_end=self.random.choice(POLICIES), metadata='{"x":1}'
        )
        claimed = self.random.random() < 0.5

        async def commit(stage: Stage) -> Reply:
            record = Record(
                kind, ids[0], ids[0], '"c"', RunState.COMPLETED, 1, "k", "1", input_digest=ids[1], life=text
            )
            spawn = Spawn(kind, ids[1], ids[1], '"c"', 2, claimed=claimed)
            done = await stage.commit(
                self.worker_of(parent), records=[record], spawns=[spawn], marks=[(ids[1], text)]
            )  # fmt: skip
            return done.fenced_parents, spawn.claimed and not done.fenced_parents

        fenced, begins = await self.on_all(f"copy {kind} {ids[0].hex()} {claimed}", commit)
        for id_ in () if fenced else ids:
            self.about[id_] = {"root": root, "depth": depth, "parent": parent, "kind": kind}
            self.attempts[id_] = int(begins and id_ == ids[1])
        if begins:
            self.holders[ids[1]] = self.worker_of(parent)
        return not fenced

    async def share(self) -> bool:
        """A link to what others of the tree share; or one that is there, asked for again."""
        parent, attempt = self.an_attempt()
        mine = [id_ for id_, (of, _) in self.links.items() if of == parent]
        again = bool(mine) and self.random.random() < 0.4
        id_ = self.random.choice(mine) if again else self.ids.new_id()
        what = self.links[id_][1] if again else self.random.choice("xy")
        root, shared, depth = self.about[parent]["root"], self.ids.new_id(), self.about[parent]["depth"] + 1
        policy, priority = self.random.choice(POLICIES), self.random.randint(0, 2)
        timeout = 9 * SECOND if self.random.random() < 0.2 else None
        kind = SpawnKind(
            "a", root, 0, root, 1, priority, schedule_timeout=timeout, on_parent_end=OnParentEnd.SHARED
        )  # fmt: skip
        own = SpawnKind("~share", parent, attempt, root, depth, on_parent_end=policy, run_kind=RunKind.SHARE)

        async def commit(stage: Stage) -> Reply:
            share = Spawn(kind, shared, None, f'"{what}"', input_digest=digest(what))
            record = Record(own, id_, id_, '"link"', RunState.WAITING, len(mine), again=again, share=share)
            done = await stage.commit(worker := self.worker_of(parent), records=[record])
            self.known.update((worker, id_) for id_ in done.finished)
            return done.fenced_parents

        fenced = await self.on_all(f"share {what} {id_.hex()} {again} {shared.hex()} of {own}", commit)
        if not fenced:
            self.links[id_], self.parts[id_] = (parent, what), parent
            self.about[shared] = {"root": root, "depth": 1, "parent": root, "kind": kind}  # if it was born: `settle`
            self.shared.add(shared)
            self.linked.add(id_)
        return not fenced

    async def hedge(self) -> bool:
        """A child, and one that is to help it."""
        parent, attempt = self.an_attempt()
        root, depth = self.about[parent]["root"], self.about[parent]["depth"] + 1
        ids, delay = [self.ids.new_id(), self.ids.new_id()], self.random.randint(1, 5) * SECOND
        kind = SpawnKind("a", parent, attempt, root, depth, on_parent_end=self.random.choice(POLICIES))

        async def commit(stage: Stage) -> Reply:
            first, second = Spawn(kind, ids[0], ids[0], '"h"'), Spawn(kind, ids[1], None, '"h"')
            done = await stage.commit(
                self.worker_of(parent), spawns=[first], hedges=[Hedge(second, ids[0], delay)]
            )  # fmt: skip
            return done.fenced_parents

        fenced = await self.on_all(f"hedge {kind} {ids[0].hex()}", commit)
        for id_ in () if fenced else ids:
            self.about[id_] = {"root": root, "depth": depth, "parent": parent, "kind": kind}
            self.attempts[id_] = 0
            self.shared |= {ids[1]}
        return not fenced

    async def wake(self) -> bool:
        sleeps = [id_ for id_, row in self.rows.items() if row["kind"] == RunKind.SLEEP]
        if not sleeps:
            return False
        id_ = self.random.choice(sleeps)
        return await self.on_all(f"wake {id_.hex()}", lambda stage: stage.store.wake(id_))

    async def find_again(self) -> bool:
        parent = self.random.choice(list(self.parts.values() or self.about))
        after = self.random.choice([b"", *self.parts])
        found = await self.on_all("find again", lambda stage: stage.store.recorded(parent, after, 3))
        asked = [(parent, after), (parent, b"")]
        await self.on_all("find what is little", lambda stage: stage.store.recorded_few(asked, 2, 30))
        return bool(found)

    async def replay(self) -> bool:
        id_ = self.a_run()

        async def replay(stage: Stage) -> Reply:
            how = await self.to_many(stage, Deed("replay", allow=tuple(TERMINAL)), id_)
            return await stage.store.replay(id_, TERMINAL) if how in (None, Came.LATER) else how is Came.DONE

        return await self.on_all(f"replay {id_.hex()}", replay)

    async def to_many(self, stage: Stage, deed: Deed, run_id: bytes) -> Came | None:
        """Every other time by the verb for many, one of which is not there."""
        if len(self.story) % 2:
            return None
        how, gone = await stage.store.to_many(deed, [run_id, bytes(16)])
        assert gone is Came.NOT
        return how

    async def pause(self) -> bool:
        id_ = self.a_run()

        async def pause(stage: Stage) -> Reply:
            how = await self.to_many(stage, Deed("pause", "said"), id_)
            return await stage.store.pause(id_, "said") if how is None else how is Came.DONE

        return await self.on_all(f"pause {id_.hex()}", pause)

    async def reprioritize(self) -> bool:
        id_, priority = self.a_run(), self.random.randint(-2, 3)

        async def reprioritize(stage: Stage) -> Reply:
            how = await self.to_many(stage, Deed("reprioritize", "said", priority), id_)
            before = await stage.store.reprioritize(id_, priority, "said") if how is None else how is Came.FOLLOWS
            return before, await _lines(stage, id_)

        return bool(await self.on_all(f"reprioritize {id_.hex()} {priority}", reprioritize))

    async def patch(self) -> bool:
        id_ = self.a_run()

        async def patch(stage: Stage) -> Reply:
            try:
                return await stage.store.patch(id_, '"by hand"', "said"), await _lines(stage, id_)
            except UsageError:
                return None

        return bool(await self.on_all(f"patch {id_.hex()}", patch))

    async def resume(self) -> bool:
        pauses = await self.on_all("pauses", _paused)
        id_ = self.random.choice(pauses) if pauses else self.a_run()

        async def resume(stage: Stage) -> Reply:
            how = await self.to_many(stage, Deed("resume"), id_)
            return await stage.store.resume(id_) if how is None else how is Came.FOLLOWS

        return await self.on_all(f"resume {id_.hex()}", resume)

    async def reap(self) -> bool:
        worker = self.workers.pop(self.random.randrange(len(self.workers)))
        count = await self.on_all(f"reap {worker}", lambda stage: stage.store.reap(worker, 3))
        await self.enter()
        return count > 0

    async def tick(self) -> bool:
        seconds = self.random.randint(1, 6)

        async def tick(stage: Stage) -> Reply:
            stage.clock.advance(seconds + 0.01)  # so that nothing is due to the microsecond
            while (due := await stage.store.tick()) is not None and due <= stage.clock.now():
                pass  # how much of it a call does is its own affair
            return _rounded(due)

        return await self.on_all(f"tick after {seconds} s", tick) is not None

    async def prune(self) -> bool:
        before = self.now() - 20 * SECOND

        async def prune(stage: Stage) -> Reply:
            return (await stage.store.prune(before, 100, START)).runs

        return await self.on_all("prune", prune) > 0

    # --- and what comes of it --------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """All that is closed ends; then all rows are the same."""
        for stage in self.stages.values():
            stage.clock.advance(0.001)  # what a sweep ends has ended after what closed it, wherever time stands still
            await stage.sweep()
        over = {id_ for id_, row in self.rows.items() if RunState(row["state"]).is_terminal}
        rows = self.rows = await self.on_all("rows", _rows)
        self.revived |= {id_ for id_ in over & rows.keys() if not RunState(rows[id_]["state"]).is_terminal}
        self.parts = {id_: of for id_, of in self.parts.items() if id_ in rows}
        self.links = {id_: of for id_, of in self.links.items() if id_ in rows}
        self.suspected = any(row["deaths"] >= SUSPECT_DEATHS for row in rows.values())
        for id_ in [id_ for id_ in self.about if id_ not in rows]:  # pruned
            del self.about[id_]
        for id_ in list(self.holders):
            if id_ not in rows or rows[id_]["state"] != RunState.RUNNING:
                del self.holders[id_]
        await self.on_all("due", lambda stage: _due(stage, self.workers[0]))

    async def read_mail(self) -> None:
        for name, stage in self.stages.items():
            for worker in self.workers:
                done = await stage.commit(worker, mail=True)
                # (Who is told of a link that was cancelled depends on what is swept first: it, or who waits.)
                cancelled = {id_ for id_, end in done.finished.items() if end.state is RunState.CANCELLED}
                self.told[name] |= {(worker, id_) for id_ in done.finished if id_ not in cancelled & self.linked}
        self.told = {
            name: {(worker, id_) for worker, id_ in told - self.known if id_ not in self.revived}
            for name, told in self.told.items()
        }


def _rounded(when: int | None) -> int | None:
    return None if when is None else (when + MILLISECOND // 2) // MILLISECOND


async def _lines(stage: Stage, id_: bytes) -> list[tuple[Any, ...]]:
    lines = await stage.store.logs(id_, -2)
    return [(line.seq, line.attempt, _rounded(line.at), line.level, line.message) for line in lines]


async def _paused(stage: Stage) -> list[bytes]:
    return sorted(pause.run_id for pause in await stage.store.pauses())


async def _due(stage: Stage, worker: int) -> int | None:
    return _rounded((await stage.store.look_around(worker, "host")).due)


async def _rows(stage: Stage) -> dict[bytes, dict[str, Any]]:
    found: dict[bytes, dict[str, Any]] = {}
    running = {run.id for run in (await stage.records()).values() if run.state is RunState.RUNNING}
    for row in await stage.store.copy_out("run", (b"",), 10_000):
        about = dict(zip(COLUMNS, row, strict=True))
        about |= {name: _rounded(about[name]) for name in TIMES}
        about["life"] = (life := life_of(about["life"])) and (life.number, life.since, _rounded(life.at))
        about["state"] = RunState.RUNNING if about["id"] in running else about["state"]  # copies are of queued ones
        found[about["id"]] = about
    for root, what, run, is_open in await stage.store.copy_out("shared", (b"", b""), 10_000):
        found[run]["shared"] = (root, what, is_open)
    for run, first in await stage.store.copy_out("hedge", (b"",), 10_000):
        found[run]["helps"] = first
    attempts = await stage.store.copy_out("attempt", (b"", -1), 10_000)
    for run, number, *rest in attempts:
        _, _, state, started, finished, due, error = rest  # (who it was is not known everywhere of what was queued)
        found[run][f"attempt {number}"] = (state, _rounded(started), _rounded(finished), _rounded(due), error)
    return found


async def _audit(stage: Stage) -> dict[bytes, Any]:
    """As invariants see it, in all orders; and what they find. (The stream gives children any deadlines.)"""
    wrong = [said async for said in findings(stage.store, full=True) if "deadline" not in said]
    found: dict[bytes, Any] = {b"found": wrong}
    for walk in Walk:
        rows = [row async for row in audited(stage.store, walk, page=7 if walk is not Walk.UNFINISHED else MANY * 5)]
        found[walk.name.encode()] = [row.id for row in rows]
        for row in rows:
            about = {**asdict(row), "above": row.above and {**asdict(row.above), "deadline": 0}}
            about |= {name: _rounded(about.get(name)) for name in TIMES}
            held = row.held and row.state is RunState.RUNNING  # (of others it is not known everywhere who had them)
            found[walk.name.encode() + row.id] = {**about, "held": held, "worker_id": row.worker_id if held else None}
    return found


KINDS = {
    "spawn": 3, "spawn_children": 5, "claim": 8, "complete": 3, "fail": 1, "retry": 2, "hand_back": 1, "attach": 4,
    "move_deadline": 2, "log": 1, "watch": 2, "cancel": 1, "replay": 2, "reap": 1, "tick": 5, "prune": 2,
    "record": 4, "wake": 1, "find_again": 1, "start_over": 1, "share": 4, "hedge": 2,
    "pause": 1, "resume": 2, "patch": 1, "reprioritize": 1, "fork": 1, "copy": 1,
}  # fmt: skip


async def live(stages: dict[str, Stage], seed: int, succeeded: Counter[str]) -> None:
    for stage in stages.values():
        stage.sweeps = False
    stream = Stream(stages, seed)
    await stream.begin()
    for step in range(STEPS):
        (kind,) = stream.random.choices(list(KINDS), list(KINDS.values())) if stream.about else ["spawn"]
        if kind.startswith("spawn") and len(stream.about) > MANY:
            kind = "claim"
        if kind == "reap":
            await stream.settle()  # else what is closed and lives still might count as waited for
        succeeded[kind] += bool(await getattr(stream, kind)())
        await stream.settle()
        if step % 24 == 0:
            assert not (await stream.on_all("audit", _audit))[b"found"]
    await stream.read_mail()
    assert len({frozenset(told) for told in stream.told.values()}) == 1


async def test_all_backends_do_the_same(tmp_path: Path, postgres_url: str, postgres_databases: Databases) -> None:
    """And every kind of command succeeds somewhere, else it was not compared."""
    succeeded: Counter[str] = Counter()
    for seed in SEEDS:
        postgres_databases.empty(postgres_url.rpartition("/")[2])
        urls = [f"memory:{seed}", f"sqlite:///{tmp_path}/{seed}.db", postgres_url]
        stages = {url.partition(":")[0]: Stage(_makes(url)) for url in urls}
        async with AsyncExitStack() as stack:
            for stage in stages.values():
                await stack.enter_async_context(stage)
            await live(stages, seed, succeeded)
    assert all(succeeded[kind] for kind in KINDS), succeeded


def _makes(url: str) -> MakeStore:
    return lambda clock: store_for(Settings.load(database_url=url), clock)
