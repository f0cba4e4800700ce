"""The routines that are interleaved with each other: a line for each. What they play with is told in `scene.py`.

A routine is called by one of two players, each of whom has a worker of his own; `me(p)` is that, `mine(p)` the run that
it executes. It has a preparation if the scene lacks something that it wants.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fanwood.model.budgets import Overdrawn
from fanwood.model.commands import (
    Attach,
    Batch,
    ClaimedRun,
    ClaimRequest,
    Committed,
    LogLine,
    Outcome,
    Record,
    SpawnKind,
    Suspend,
    TaskInfo,
    WorkerInfo,
)
from fanwood.model.matching import Event
from fanwood.model.states import FIRST_TERMINAL, Awaited, RunKind, RunState
from fanwood.sdk.waits.events import push
from fanwood.store.forking import NewFork
from fanwood.store.many import Deed
from fanwood.store.postgres.hot import Answer, Call, decode_answer
from tests.conformance.stage import completed, failed, handed_back, retried
from tests.interleaving.players import Player
from tests.interleaving.scene import Scene

ENDED = [state for state in RunState if state >= FIRST_TERMINAL]
Prepare = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Routine:
    """`passes_by`: what others hold at this moment it leaves for its next turn, which comes by itself."""

    name: str
    call: Callable[[Scene, Player], Awaitable[Any]]
    prepare: tuple[Prepare, ...] = ()
    passes_by: bool = False


def _claim(limit: int, *tasks: str, fair: int = 0, idle: bool = False) -> ClaimRequest:
    return ClaimRequest(json.dumps(tasks), limit, fair, idle)


def _closes(outcome: Outcome) -> Outcome:
    outcome.closes, outcome.local = True, False
    return outcome


def _starts_over(run: ClaimedRun) -> Outcome:
    return Outcome(run.key, run.attempt, RunState.QUEUED, '{"round":2}', renews=True)


def _again(s: Scene, *names: str) -> list[Attach]:
    root = s["R"]
    kind = SpawnKind("c", parent_id=root.key, parent_attempt=root.attempt, root_id=root.key, depth=1)
    return [Attach(kind, s[name].key) for name in names]


async def _sent(s: Scene, p: Player, *, again: bool) -> Answer:
    """One commit of the root's worker, as it is sent, and sent again after its connection was lost. (It spawns nothing
    below what others may close: of a commit that does, and claims as well, the one may come after the closing, and the
    other before, which is swept then.)"""
    batch = Batch(
        spawns=[s.root("born", "q"), s.root("begun", "q", claimed=True), s.keyed("keyed", "new")],
        outcomes=[completed(s["s"])], watch=[s["c0"].key], claim=_claim(1, "x"),
    )  # fmt: skip
    worker = s.workers[2]
    number, now = p.store._seqs[worker] + 1, s.clock.now()
    arguments = Call(batch).arguments(worker, number, now, again=again, notify=False, read=[])
    answer = decode_answer(await p.store._ask(arguments))
    answer.now, answer.has_more, answer.has_closed = 0, False, False
    return answer


def _part(s: Scene, p: Player, parent: ClaimedRun, kind: RunKind = RunKind.SLEEP) -> Record:
    name = f"part{p.number}"
    return s.part(parent, name, kind=kind, id=s.id(name))


def _suspend(s: Scene, missing: int, *names: str, weight: Awaited = Awaited.ONE_OF) -> Suspend:
    """The root's code waits for these."""
    root = s["R"]
    return Suspend(root.key, root.attempt, [(s.id(name), int(weight)) for name in names], missing)


def _link(s: Scene, p: Player) -> Record:
    return s.link(f"link{p.number}", s.mine(p), f"shared{p.number}")


async def _spend(s: Scene, p: Player, name: str, amount: int, *, reserved: bool = False) -> object:
    of = s.id(f"held{p.number}") if reserved else None
    return await p.store.spend([s.spending(p.number, name, amount, of)])


async def _take_anew(s: Scene, p: Player) -> object:
    try:
        return await p.store.replay(s["B"].key, ENDED)
    except Overdrawn as error:
        return error.refused


async def _receive(s: Scene, p: Player) -> Committed:
    """As code does: it waits, and then takes what was sent before."""
    done = await by_root(s, p, records=[s.waits(RunKind.MESSAGE)])
    await p.store.deliver(s["R"].key, "paid")
    return done


async def _send(s: Scene, p: Player) -> None:
    await p.store.send(s["R"].key, "paid", "{}")


async def _push(s: Scene, p: Player) -> int:
    return len(await push(p.store, [Event(f"event {p.number}", "paid", "{}")]))


async def _prune(s: Scene, p: Player) -> int:
    return (await p.store.prune(s.clock.now(), 100)).runs


async def _delete(s: Scene, p: Player) -> int:
    """A tree that is large, so to speak."""
    cursor, runs = await p.store.begin_deleting(s["O"].key), 0
    while cursor is not None and cursor.large is not None:
        pruned = await p.store.prune(s.clock.now(), 1, cursor)
        cursor, runs = pruned.cursor, runs + pruned.runs
    return runs


async def _sweep(s: Scene, p: Player) -> None:
    while (swept := await p.store.sweep()).more:
        if not swept.ended:
            await p.sleep()


async def _sweep_released(_: Scene, p: Player) -> None:
    while (swept := await p.store.sweep()).more:
        if not swept.looked:
            await p.sleep()


async def _tick(_: Scene, p: Player) -> None:
    await p.store.tick()


async def by_me(s: Scene, p: Player, **batch: Any) -> Committed:
    """A commit of the player's worker; its answer without what is only a hint."""
    return await _commit(p, s.me(p), batch)


async def by_root(s: Scene, p: Player, **batch: Any) -> Committed:
    """... of the worker that executes the root."""
    return await _commit(p, s.workers[2], batch)


async def by_lost(s: Scene, p: Player, **batch: Any) -> Committed:
    """... of the one whose lease has lapsed."""
    return await _commit(p, s.workers[3], batch)


async def _commit(p: Player, worker: int, batch: dict[str, Any]) -> Committed:
    try:
        done = await p.store.commit(worker, Batch(**batch))
    except Overdrawn as error:  # (nothing of it was done; an engine sends it again without these)
        return Committed(unknown=[*error.refused])
    done.has_more = done.has_closed = False
    return done


DECLARED = {
    r"error is '.*its ancestor .* was cancelled: .*' and not '.*its ancestor .* was cancelled: ":
        "two closings cover it, and it ends with what either of them says",
    r"h[01]: ended_by is 3 and not 7, error is '.*its ancestor R was cancelled: ":
        "a hedge is closed as its first ends, and ends with what either of them says",
    r"(run: there is no .*it was to help has ended|mail: there is no .3, .h[01]..)":
        "a hedge isn't born, or ends at once, as its first ends before it is due",
    r"^shared: None: open is 2 and not 0":
        "links that others hold when what they share ends are told of it by timers",
    r"link[01].*its ancestor R was cancelled\W+(, and not|and not|finished_at)|^mail: there is .1, .link0..|"
    r"there is no .*shared[01]":
        "a link ends at once whose tree is cancelled while it is made, before a sweep would end it",
    r"^run: k[01]: ended_by is 3 and not 1, error is .*its ancestor R was cancelled|^mail: there is no .[12], .k[01]..":
        "what is shared has ended, and its links are closed before they are told",
    r"^run: \w+: error is '.*its ancestor (R|c0) was .*' and not '.*its ancestor (R|c0) was [^:]*'$":
        "two closings cover it, a patch and another, and it ends with what either of them says",
    r"^run: g[01]: priority is 5 and not 1$":
        "what was closed after it had been looked at is told of another priority before a sweep ends it",
    r"^run: h[01]: ended_by is 3 and not 7, error is '.*its ancestor R started over\"}' and not '.*to help has ended":
        "a hedge is closed as its first ends, by a root that starts over, and ends with what either of them says",
    r"^mail: there is no .3, .c[01]..$":
        "a root that has started over is not told of the end of a child of its life before: nobody waits there for it",
}  # fmt: skip
"""Differences from what both orders give that no promise forbids, and why: what lines of them look like."""
DECLARED_OF = {
    "cancel many/delete": {
        r"^the first was answered '.<Came.SAME: 1>, <Came.FOLLOWS: 3>, <Came.FOLLOWS: 3>.', and not ":
            "a tree is deleted from below: what is left of it has nothing below it any more that could follow",
    },
    "cancel many/sweep": {
        r"^run: c1: ended_by is 3 and not 2, error is '.*its ancestor R was cancelled":
            "one of many ends with the call, and another one with its ancestor, which a sweep came to first",
    },
}  # fmt: skip
"""... of one pair only."""
ROUTINES = [
    Routine("claim", lambda s, p: by_me(s, p, claim=_claim(1, "q")), passes_by=True),
    Routine("claim all", lambda s, p: by_me(s, p, claim=_claim(9, "q", "g", "c", fair=1)), passes_by=True),
    Routine("claim alone", lambda s, p: by_me(s, p, claim=_claim(1, "q", "g", idle=True)), passes_by=True),
    Routine("claim below", lambda s, p: by_me(s, p, claim=_claim(9, "g")), passes_by=True),
    Routine("claim late", lambda s, p: by_me(s, p, claim=_claim(1, "x")), passes_by=True),
    Routine("sent", lambda s, p: _sent(s, p, again=False), (Scene.childless,)),
    Routine("sent again", lambda s, p: _sent(s, p, again=True), (Scene.childless,)),
    Routine("read mail", lambda s, p: by_root(s, p, mail=True)),
    Routine("publish", lambda s, p: p.store.publish(s.me(p), [TaskInfo("q", "task"), TaskInfo("new", "task")])),
    Routine("register", lambda _, p: p.store.register(WorkerInfo("w", "host", 1, 1, ("c", "q")), [])),
    Routine("spawn", lambda s, p: by_me(s, p, spawns=[s.new(p, s.mine(p), "g")])),
    Routine("spawn claimed", lambda s, p: by_me(s, p, spawns=[s.new(p, s.mine(p), "g", claimed=True)])),
    Routine("spawn below root", lambda s, p: by_root(s, p, spawns=[s.new(p, s["R"], "q")])),
    Routine("sleep", lambda s, p: by_me(s, p, records=[_part(s, p, s.mine(p))])),
    Routine("sleep below root", lambda s, p: by_root(s, p, records=[_part(s, p, s["R"])])),
    Routine("step", lambda s, p: by_root(s, p, records=[_part(s, p, s["R"], kind=RunKind.RECORDED)])),
    Routine("step first", lambda s, p: by_root(s, p, records=[_part(s, p, s["s"], kind=RunKind.RECORDED)]),
            (Scene.childless,)),
    Routine("sleep again", lambda s, p: by_root(s, p, records=[s.again("z")]), (Scene.asleep, Scene.woken_by_cancel)),
    Routine("wake", lambda s, p: p.store.wake(s.id("z")), (Scene.asleep,)),
    Routine("cancel sleep", lambda s, p: p.store.cancel(s.id("z"), "test"), (Scene.asleep,)),
    Routine("fire", _tick, (Scene.asleep, Scene.in_time, Scene.due), passes_by=True),
    Routine("end root asleep", lambda s, p: by_root(s, p, outcomes=[_closes(completed(s["R"]))]), (Scene.asleep,)),
    Routine("spawn first", lambda s, p: by_root(s, p, spawns=[s.new(p, s["s"], "g")]), (Scene.childless,)),
    Routine("end childless", lambda s, p: by_root(s, p, outcomes=[_closes(completed(s["s"]))]), (Scene.childless,)),
    Routine("cancel childless", lambda s, p: p.store.cancel(s["s"].key, "test"), (Scene.childless,)),
    Routine("end", lambda s, p: by_me(s, p, outcomes=[completed(s.mine(p), local=False)])),
    Routine("end and close", lambda s, p: by_me(s, p, outcomes=[_closes(failed(s.mine(p)))])),
    Routine("end root", lambda s, p: by_root(s, p, outcomes=[_closes(completed(s["R"]))])),
    Routine("retry", lambda s, p: by_me(s, p, outcomes=[retried(s.mine(p))])),
    Routine("retry later", lambda s, p: by_me(s, p, outcomes=[retried(s.mine(p), 5)])),
    Routine("retry root", lambda s, p: by_root(s, p, outcomes=[retried(s["R"])])),
    Routine("hand back late", lambda s, p: by_root(s, p, outcomes=[handed_back(s["late"])]), (Scene.late,)),
    Routine("end late", lambda s, p: by_root(s, p, outcomes=[completed(s["late"], local=False)]), (Scene.late,)),
    Routine("hand back", lambda s, p: by_me(s, p, outcomes=[handed_back(s.mine(p))])),
    Routine("watch", lambda s, p: by_root(s, p, watch=[s["c0"].key, s["c1"].key, s["l"].key, s.id("q0")])),
    Routine("unwatch", lambda s, p: by_me(s, p, unwatch=[s[f"c{1 - p.number}"].key]), (Scene.watched,)),
    Routine("ask again", lambda s, p: by_root(s, p, attaches=_again(s, "f", "c0", "c1", "l")), (Scene.second_trial,)),
    Routine("start over", lambda s, p: by_me(s, p, outcomes=[_starts_over(s.mine(p))])),
    Routine("root starts over", lambda s, p: by_root(s, p, outcomes=[_starts_over(s["R"])])),
    Routine("log", lambda s, p: by_me(s, p, logs=[LogLine(s.mine(p).key, 1, 1, "info", "text")])),
    Routine("root with key", lambda s, p: by_me(s, p, spawns=[s.keyed(f"new{p.number}", "k")])),
    Routine("root with new key", lambda s, p: by_me(s, p, spawns=[s.keyed(f"new{p.number}", "new")])),
    Routine("move deadline", lambda s, p: by_me(s, p, deadlines=[s.limit(s.mine(p))]), (Scene.limited,)),
    Routine("cancel root", lambda s, p: p.store.cancel(s["R"].key, "test")),
    Routine("cancel child", lambda s, p: p.store.cancel(s["c0"].key, "test")),
    Routine("cancel queued", lambda s, p: p.store.cancel(s.id("q0"), "test")),
    Routine("cancel many", lambda s, p: p.store.to_many(Deed("cancel", "test"), [s[n].key for n in ("o", "c0", "c1")])),
    Routine("cancel attempt", lambda s, p: p.store.cancel(s["c0"].key, "test", 1)),
    Routine("cancel over", lambda s, p: p.store.cancel(s["o"].key, "test")),
    Routine("replay", lambda s, p: p.store.replay(s["o"].key, ENDED)),
    Routine("replay root", lambda s, p: p.store.replay(s["O"].key, ENDED)),
    Routine("replay failed", lambda s, p: p.store.replay(s["f"].key, ENDED)),
    Routine("replay child", lambda s, p: p.store.replay(s["c0"].key, ENDED)),
    Routine("prune", _prune, passes_by=True),
    Routine("delete", _delete, passes_by=True),
    Routine("sweep", _sweep, (Scene.closed,), passes_by=True),
    Routine("tell deadlines", _sweep, (Scene.limited, Scene.moved), passes_by=True),
    Routine("tick", _tick, passes_by=True),
    Routine("reap", lambda s, p: p.store.reap(s.workers[3], 3, if_lapsed=True)),
    Routine("reap as poison", lambda s, p: p.store.reap(s.workers[3], 1, if_lapsed=True)),
    Routine("renew", lambda s, p: p.store.renew(s.workers[3])),
    Routine("lost one ends", lambda s, p: by_lost(s, p, outcomes=[_closes(completed(s["l"]))])),
    Routine("lost one spawns", lambda s, p: by_lost(s, p, spawns=[s.new(p, s["l"], "g")])),
    Routine("lost one claims", lambda s, p: by_lost(s, p, claim=_claim(1, "q")), passes_by=True),
    Routine("suspend", lambda s, p: by_root(s, p, suspends=[_suspend(s, 1, "c0", "c1")])),
    Routine("suspend for both", lambda s, p: by_root(s, p, suspends=[_suspend(s, 2, "c0", "c1")])),
    Routine(
        "suspend unless failed",
        lambda s, p: by_root(s, p, suspends=[_suspend(s, 2, "c0", "c1", weight=Awaited.ONE_OF_UNLESS_FAILED)]),
    ),
    Routine("suspend for failed", lambda s, p: by_root(s, p, suspends=[_suspend(s, 1, "f")])),
    Routine("suspend for sleep", lambda s, p: by_root(s, p, suspends=[_suspend(s, 1, "z")]), (Scene.asleep,)),
    Routine("suspend for promise", lambda s, p: by_root(s, p, suspends=[_suspend(s, 1, "p")]), (Scene.promised,)),
    Routine("end awaited", lambda s, p: by_me(s, p, outcomes=[completed(s.mine(p), local=False)]), (Scene.suspended,)),
    Routine("fail awaited", lambda s, p: by_me(s, p, outcomes=[_closes(failed(s.mine(p)))]), (Scene.suspended,)),
    Routine("cancel awaited", lambda s, p: p.store.cancel(s["c0"].key, "test"), (Scene.suspended,)),
    Routine("cancel suspended", lambda s, p: p.store.cancel(s["R"].key, "test"), (Scene.suspended,)),
    Routine("claim suspended", lambda s, p: by_me(s, p, claim=_claim(1, "r")), (Scene.suspended,), passes_by=True),
    Routine("suspend for event", lambda s, p: by_root(s, p, suspends=[_suspend(s, 1, "e")]), (Scene.waiting,)),
    Routine("wait for event", lambda s, p: by_root(s, p, records=[s.waits(RunKind.EVENT)])),
    Routine("push", _push),
    Routine("push to one", _push, (Scene.waiting,)),
    Routine("receive", _receive),
    Routine("send", _send),
    Routine("send to one", _send, (Scene.receiving,)),
    Routine("settle", lambda s, p: p.store.settle(s.id("p"), RunState.COMPLETED, "1", None), (Scene.promised,)),
    Routine("reject", lambda s, p: p.store.settle(s.id("p"), RunState.FAILED, None, "{}"), (Scene.promised,)),
    Routine("expire promise", _tick, (Scene.promised, Scene.due), passes_by=True),
    Routine("pause", lambda s, p: p.store.pause(s["R"].key, "test")),
    Routine("pause child", lambda s, p: p.store.pause(s["c0"].key, "test")),
    Routine("resume", lambda s, p: p.store.resume(s["R"].key), (Scene.paused,)),
    Routine("release", _sweep_released, (Scene.resumed,), passes_by=True),
    Routine("reprioritize", lambda s, p: p.store.reprioritize(s["R"].key, 5, "test")),
    Routine("reprioritize child", lambda s, p: p.store.reprioritize(s["c0"].key, 5, "test")),
    Routine("tell urgency", _sweep_released, (Scene.urged,), passes_by=True),
    Routine("patch child", lambda s, p: p.store.patch(s["c0"].key, "5", "test")),
    Routine("patch failed", lambda s, p: p.store.patch(s["f"].key, "5", "test")),
    Routine("patch over", lambda s, p: p.store.patch(s["o"].key, "5", "test")),
    Routine("patch lower", lambda s, p: p.store.patch(s["u"].key, "5", "test")),
    Routine("fork", lambda s, p: p.store.fork(NewFork(bytes(15) + bytes([p.number]), s["o"].key, "{}"))),
    Routine("fork again", lambda s, p: p.store.fork(NewFork(bytes(15) + bytes([p.number]), s.id("F"), "{}")),
            (Scene.forked,)),
    Routine("share", lambda s, p: by_me(s, p, records=[_link(s, p)])),
    Routine("share shared", lambda s, p: by_me(s, p, records=[_link(s, p)]), (Scene.shared,)),
    Routine("end shared", lambda s, p: by_root(s, p, outcomes=[completed(s["S"], local=False)]), (Scene.shared,)),
    Routine("cancel link", lambda s, p: p.store.cancel(s.id(f"k{p.number}"), "test"), (Scene.shared,)),
    Routine("hedge", lambda s, p: by_root(s, p, attaches=_again(s, "c0", "c1"), hedges=[s.hedge(0), s.hedge(1)])),
    Routine("end first", lambda s, p: by_me(s, p, outcomes=[completed(s.mine(p), local=False)]), (Scene.helped,)),
    Routine("fail first", lambda s, p: by_me(s, p, outcomes=[_closes(failed(s.mine(p)))]), (Scene.helped,)),
    Routine("end hedge", lambda s, p: by_me(s, p, outcomes=[completed(s[f"h{1 - p.number}"], '"h"')]), (Scene.helped,)),
    Routine("cancel first", lambda s, p: p.store.cancel(s[f"c{1 - p.number}"].key, "test"), (Scene.helped,)),
    Routine("patch first", lambda s, p: p.store.patch(s[f"c{1 - p.number}"].key, "5", "test"), (Scene.helped,)),
    Routine("spend", lambda s, p: _spend(s, p, f"b{p.number}", 3), (Scene.budgeted,)),
    Routine("spend reserved", lambda s, p: _spend(s, p, f"b{p.number}", 5, reserved=True), (Scene.budgeted,)),
    Routine("spend above", lambda s, p: _spend(s, p, "A", 12), (Scene.budgeted,)),
    Routine("end spender", lambda s, p: by_me(s, p, outcomes=[completed(s[f"b{p.number}"], local=False)]),
            (Scene.budgeted,)),
    Routine("spawn in budget", lambda s, p: by_me(s, p, spawns=[s.new(p, s[f"b{p.number}"], "g")]), (Scene.budgeted,)),
    Routine("end budget", lambda s, p: by_root(s, p, outcomes=[_closes(completed(s["B"]))]), (Scene.budgeted,)),
    Routine("cancel budget", lambda s, p: p.store.cancel(s["B"].key, "test"), (Scene.budgeted,)),
    Routine("replay budget", _take_anew, (Scene.part_over,)),
    Routine("spend what is left", lambda s, p: _spend(s, p, "A", 12), (Scene.part_over,)),
    Routine("unregister", lambda s, p: p.store.unregister(s.workers[3])),
]  # fmt: skip
BY_NAME = {routine.name: routine for routine in ROUTINES}
