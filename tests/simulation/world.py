"""A world: several processes, a store, and what goes wrong; all of it from one seed.

The engine, the executor and all between them and the user's code are those of the package, as they are. What is made
here is what they stand on: loops (threads), clocks, ids, and the store's behaviour.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar

from fanwood import Context, Fanwood, FanwoodError
from fanwood.errors import StoreValueError
from fanwood.ids import id_bytes
from fanwood.model.commands import Batch
from fanwood.model.states import TERMINAL, RunState
from fanwood.sdk.running.waiting import called
from fanwood.store.memory.tables import Run
from fanwood.worker.executor import Executor
from tests.simulation import clients, invariants, judging, outside, pages, plans
from tests.simulation.grounds import InFile, InMemory
from tests.simulation.hosts import Host
from tests.simulation.loops import Scheduler, Strand, VirtualLoop, VirtualTime
from tests.simulation.machine import WorldClock, patched
from tests.simulation.parts import Parts
from tests.simulation.shapes import SMALL, Less, Shape, drawn
from tests.simulation.spending import Purse
from tests.simulation.threads import VirtualThread

T = TypeVar("T")

AT_ANY_STEP = ("crash", "stands still", "interrupted")
"""What happens between any two steps of whatever a process does, and not where it asks the store."""
OF_SERVERS = ("slow", "slow answer", "answer lost", "request lost", "away", "restart", "hint lost")
OF_FILES = ("breaks off",)
FAULTS = (
    "slow", "slow answer", "busy", "full", "away", "answer lost", "crash before", "crash after", "freeze",
    "hint lost", "hint late", "hint twice", "refused", "stop", "clock jump", "request lost", "restart",
    *OF_FILES, *AT_ANY_STEP,
)  # fmt: skip
NEVER_ON = {"memory": OF_FILES, "sqlite": OF_SERVERS}
OFTEN = {
    "commit", "look_around", "renew", "hint", "is_heard", "register", "reap", "contended", "secret", "spend", "tick",
    "sweep", "get", "left_over",
}  # fmt: skip
"""Verbs that are called all the time."""
SELDOM, MOST = 12, 0.2
"""So many times as often, and so often at most, something goes wrong at any other: of those that clients call once in
some worlds each fault is to be seen."""
SYNC_ENDS = 60_000_000
"""Microseconds, for those to hear of an end who were frozen, or executed what was over: sync code that was cancelled
takes longest."""
WAKES = 0.7
"""How often whoever stands still goes on as soon as another has begun something of his anew: what he is about to send
is late then, and just not too late."""
REMEMBERED = 400
ROUTINE = {"renew", "look_around", "tidy", "contended", "prune"}
"""Last moments of a story."""


class WrongError(AssertionError):
    """Something that must not be."""


class World:
    """See the module's essay."""

    def __init__(self, seed: int, less: Less = Less(), shape: Shape = SMALL) -> None:  # noqa: B008  (they are frozen)
        self.seed = seed
        self.less = less
        self.shape = shape = drawn(seed, shape)
        self.program = ""
        self.random = Random(seed)
        self.time = VirtualTime()
        self.clock = WorldClock(self.time)
        self.kind = shape.stores[seed % len(shape.stores)]
        self.page = pages.drawn(seed, shape.pages)
        self.ground = InFile(self.clock) if self.kind == "sqlite" else InMemory(self.clock)
        self.tables = self.ground.tables
        self.faults: Counter[tuple[str, str]] = Counter()  # and at which verb of the store
        self.states: Counter[tuple[RunState | None, RunState]] = Counter()
        self.away_until = 0
        self.beginnings = 0  # of the store
        self.acknowledged: dict[str, Any] = {}
        self.trace = blake2b(digest_size=16)
        self._said: list[tuple[int, str, str]] = []  # when, who, and what: all that becomes a part of it
        self._wrong: str | None = None
        self._closed: dict[bytes, int] = {}  # runs whose cancelling has returned
        self._names: Counter[str] = Counter()
        self._strands: list[VirtualLoop | VirtualThread] = []
        self._calls: list[asyncio.Task[Any]] = []  # of clients
        self._revivals = 0  # processes that will come in the place of others
        self._unfinished = 0  # runs
        self.hosts: list[Host] = []
        self._clients: list[tuple[Host, asyncio.Task[None]]] = []
        self.scheduler = Scheduler(self.time, self.random)
        random = self.random
        self.embedded = random.random() < 0.5 or self.kind == "sqlite"
        self.clients_die = random.random() < 0.3  # and nobody comes in their place
        self.suspends = random.choice([0.0, 0.1, 0.7])
        self.lags = 0.0  # how often who reads a file for people comes late
        self.rates: dict[str, float] = {
            fault: random.choice([0, 0, 0.003, 0.01, 0.05]) / shape.rarity for fault in FAULTS
        }
        if random.random() < 0.15:
            self.rates = dict.fromkeys(FAULTS, 0)
        for rare in ("crash before", "crash after", "freeze", "away", "stop", "clock jump", "restart"):
            self.rates[rare] /= 4
        for each in AT_ANY_STEP:
            self.rates[each] /= 20
        self.kept = random.choice([0.0] * 4 + [12 / 86400])  # days, and longer than a lease; 0: for ever
        if any(self.rates.values()) and Random(f"faults of {seed}").random() < 0.75:
            self.rates |= shape.rates
        if self.embedded:  # a library answers, or raises, and never later; nor does it miss a change of its file
            self.suspends = 0.0
            self.rates |= dict.fromkeys(OF_SERVERS, 0)
        self.rates |= dict.fromkeys(NEVER_ON[self.kind], 0)
        if self.kind == "sqlite":
            self.lags = random.choice([0.0, 0.1, 0.7])
        self.rates |= dict.fromkeys(self.less.faults, 0)
        self.harmless = not any(self.rates.values())
        self.settings = {**shape.settings, "retention_days": self.kept, "sweep": random.choice(shape.sweeps)}
        self.scheduler.disturb = self._disturb
        self._plan_disturbance()
        self.calm = False
        self.watch = invariants.Watch(self.tables, self.ground.now, self.wrong, self._on_state)
        self.ground.watched_by(self.watch)
        self.parts = Parts(self.tables, self.ground.now, self.watch)
        self.purse = Purse(self)
        self.pausing: set[bytes] = set()  # by one client, and no second one
        self.resumed: set[bytes] = set()  # by the world, while the answer to who paused them may be on its way

    # --- what happens ----------------------------------------------------------------------------------------------

    def happens(self, fault: str, verb: str) -> bool:
        """Whether something goes wrong now, at this verb of the store."""
        if not self.may_happen(fault, verb):
            return False
        self.happened(fault, verb)
        return True

    def may_happen(self, fault: str, verb: str) -> bool:
        """Whether it is to be now, if it can be."""
        rate = self.rates[fault]
        if not rate or self.calm:
            return False
        return self.random.random() < (rate if verb in OFTEN else min(MOST, SELDOM * rate))

    def happened(self, fault: str, verb: str) -> None:
        """It is."""
        self.faults[fault, verb] += 1
        self.note("fault", fault)

    def _plan_disturbance(self) -> None:
        rate = sum(self.rates[each] for each in AT_ANY_STEP)
        self.scheduler.disturb_at = self.scheduler.steps + 1 + int(self.random.expovariate(rate)) if rate else None

    def _disturb(self, strand: Strand) -> None:
        """Something goes wrong before this one goes on."""
        if self.calm:
            return
        self._plan_disturbance()
        (fault,) = self.random.choices(AT_ANY_STEP, [self.rates[each] for each in AT_ANY_STEP])
        self._calls = [call for call in self._calls if not call.done()]
        if (fault == "crash" and not self.may_die(strand.host)) or (fault == "interrupted" and not self._calls):
            return
        self.faults[fault, ""] += 1
        self.note("fault", fault)
        match fault:
            case "crash":
                strand.host.kill()
            case "stands still":
                strand.host.freeze()
            case _:
                self.random.choice(self._calls).cancel()

    @property
    def is_sound(self) -> bool:
        """Whether nothing goes wrong, or has for a while."""
        if self.shape.meddlers:  # who want again what others do not
            return False
        since = self.watch.punctual_from
        return self.harmless or (since is not None and self.time.now > since)

    def refuse(self, batch: Batch) -> None:
        """Some values no database can hold: always the same ones, whatever they travel with.

        Raises:
            StoreValueError: there is one in it.
        """
        if self.rates["refused"]:
            rate = int(self.rates["refused"] * 1000)
            values = [spawn.id for spawn in batch.spawns]
            values += [outcome.run_id[:-1] for outcome in batch.outcomes if outcome.output is not None]
            if any(int.from_bytes(value[-2:]) % 1000 < rate for value in values):
                self.faults["refused", "commit"] += 1
                raise StoreValueError("a value that this store can't hold")

    def note(self, who: str, what: str) -> None:
        """It becomes a part of the story, and of the trace."""
        self._said.append((self.time.now, who, what))

    def tell(self, found: Iterable[str]) -> None:
        """All that must not be."""
        for what in found:
            self.wrong(what)

    def wrong(self, what: str) -> None:
        """Something that must not be."""
        self.note("WRONG", what)
        self._wrong = self._wrong or what

    def _on_state(self, run: Run, before: RunState | None) -> None:
        after = RunState(run.state)
        self.states[before, after] += 1
        was = "new" if before is None else before.name
        self._unfinished += (after not in TERMINAL) - (before is not None and before not in TERMINAL)
        self.note("run", f"{invariants.short(run)}: {was} -> {after.name}, attempt {run.attempt}")

    def _on_trouble(self, loop: str, context: Any) -> None:
        error = context.get("exception")
        self.wrong(f"{loop}: {context['message']}: {error!r}")

    # --- processes -------------------------------------------------------------------------------------------------

    def loop(self, host: Host, name: str) -> VirtualLoop:
        """Another thread of control, with a loop on it."""
        loop = VirtualLoop(self.scheduler, f"{host.name} {name}", len(self._strands) + 1, self._on_trouble)
        self._begins(loop, host)
        return loop

    def thread(self, name: str, target: Callable[[], None]) -> None:
        """A thread begins, in the process that goes on now."""
        assert self.scheduler.running is not None
        host = self.scheduler.running.host
        thread = VirtualThread(self.scheduler, f"{host.name} {name}", len(self._strands) + 1, target)
        self._begins(thread, host)
        thread.wake()

    def _begins(self, strand: VirtualLoop | VirtualThread, host: Host) -> None:
        strand.host = host
        host.strands.append(strand)
        self._strands.append(strand)

    def host(self, name: str, *, slots: int) -> Host:
        """A process begins."""
        self._names[name] += 1
        host = Host(self, f"{name}.{self._names[name]}", len(self.hosts) + 1, slots=slots)
        self.hosts.append(host)
        self.note(host.name, "begins")
        return host

    def may_die(self, host: Host) -> bool:
        """Whether a process may."""
        return bool(host.slots) or self.clients_die

    def revive_later(self, host: Host) -> None:
        """A process in the place of one that died, if it was a worker."""
        if not host.slots:
            return
        pause = self.random.random() * (1e6 if self.calm else 10e6)
        self._revivals += 1
        self.scheduler.remember(self.time.now + int(pause), None, partial(self._revive, host))

    def _revive(self, host: Host) -> None:
        self._revivals -= 1
        self.host(host.name.partition(".")[0], slots=host.slots)

    # --- what the programs tell ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def executing(self, app: Fanwood, ctx: Context, plan: Any) -> Generator[None]:
        """A task's code begins."""
        run_id, attempt, host = ctx.task_run_id, ctx._attempt.run.attempt, self._host_of(app)
        self.note("task", f"{plan['n']} begins, {plan['task']} {run_id[-6:]}, attempt {attempt}")
        if not self._may_not_know(app, id_bytes(run_id)):
            self.wakes(self.watch.history.holder_of(id_bytes(run_id)))
            self.tell(self.watch.history.began(id_bytes(run_id), attempt, host.name))
            run = self.tables.runs.get(id_bytes(run_id))
            if run is not None and run.is_at(RunState.RUNNING, attempt) and (paused := self.watch.paused_above(run)):
                self.wrong(f"{plan['n']} begins, and {paused.hex()[-6:]} is paused")
        if self._closed and (above := self.watch.closed_above(id_bytes(run_id), self._closed)):
            self.wrong(f"{plan['n']} begins below {above.hex()[-6:]}, whose cancelling has returned")
        self._look_at_slots(host)
        try:
            yield
        finally:
            self.note("task", f"{plan['n']} leaves")
            self._look_at_slots(host)

    def _look_at_slots(self, host: Host) -> None:
        if host.dead or host.worker is None or (executor := host.worker._executor) is None:
            return
        me = self.scheduler.running
        host.attempts = [one for one in host.attempts if one.holding or not one.code_ended]
        if not any(one.is_queued and one is not me for one in host.strands if isinstance(one, VirtualThread)):
            self.tell(judging.of_slots(executor, host.attempts))

    def wakes(self, whom: str | int) -> None:
        """Somebody takes what this host has (or a worker), or begins it anew: should it stand still, it may go on about
        now."""
        for host in self.hosts if whom else ():
            if whom in (host.name, host.engine.worker_id) and not host.dead and self.random.random() < WAKES:
                host.wake()

    def is_dead(self, app: Fanwood) -> bool:
        """Whether its process has died."""
        return self._host_of(app).dead

    async def die_of(self, app: Fanwood) -> None:
        """A task's code takes its process with it."""
        self.note("task", "kills its process")
        await self._host_of(app).die()

    def outside(self, does: Callable[[Fanwood], Coroutine[Any, Any, None]]) -> None:
        """Some process does this meanwhile, whatever becomes of who wants it. (One that has stopped would never.)"""
        there = [host for host in self.hosts if not host.dead]
        if not there:
            return  # what is there to the end is said again
        host = self.random.choice([host for host in there if host.engine.alive] or there)

        async def do() -> None:
            with contextlib.suppress(FanwoodError):
                await called(host.started)
                await does(host.app)

        host.task_loop.create_task(do(), context=contextvars.Context())  # no task does it

    async def asked(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A client's call, which may be interrupted at any await.

        Raises:
            FanwoodError: it was.
        """
        call = asyncio.get_running_loop().create_task(ask())
        self._calls.append(call)
        try:
            return await call
        except asyncio.CancelledError:
            raise FanwoodError("interrupted") from None

    def _host_of(self, app: Fanwood) -> Host:
        (host,) = (host for host in self.hosts if host.app is app)
        return host

    def _may_not_know(self, app: Fanwood, run_id: bytes) -> bool:
        """Whether there is a letter about a run, which ended while this process held it, that it has not read yet."""
        host = self._host_of(app)
        mailbox = self.tables.mail.get(host.engine.worker_id, ())
        return run_id in mailbox or run_id in host.store.undelivered

    def cancelled(self, run_id: str, began: int) -> None:
        """The call that cancels it has returned. (Since it began, somebody may have asked for the run anew.)"""
        self._closed[id_bytes(run_id)] = began

    # --- from the beginning to the end -----------------------------------------------------------------------------

    def run(self) -> None:
        """All of it.

        Raises:
            WrongError: something was that must not be; with the story of it.
        """
        try:
            with patched(self):
                try:
                    self._live()
                finally:
                    self._end()
        except WrongError:
            raise
        except Exception as error:
            raise WrongError(self.story(f"{type(error).__name__}: {error}")) from error

    def _end(self) -> None:
        self.trace.update("\n".join([f"{when} {who} {what}" for when, who, what in self._said]).encode())
        self.trace.update(self.scheduler.path.tobytes())
        for strand in self._strands:
            strand.end()
        self.scheduler.running = None
        self.ground.close()

    def _live(self) -> None:
        random, shape = self.random, self.shape
        self.maker = plans.Maker(random, random.choice(shape.sizes), shape)
        for number in range(random.randint(*shape.workers)):
            self.host(f"worker{number}", slots=random.choice(shape.slots))
        for number in range(random.randint(*shape.clients)):
            host = random.choice(self.hosts) if shape.joined else self.host(f"client{number}", slots=0)
            roots = plans.without([self.maker.plan() for _ in range(random.randint(*shape.roots))], self.less.runs)
            self.program += f"{host.name}:\n{plans.shown(roots)}"
            client = partial(clients.client, self, host.tasks, host.app, roots)
            self._clients.append((host, host.execute(client)))
        self._go_on(self.time.now + int(shape.safety * 1e6), self._is_over)
        self._calm_down()
        self._go_on(self.time.now + int(shape.liveness * 1e6), self._is_over)
        self._go_on(self.time.now + SYNC_ENDS, self._has_settled)
        self._look_back()

    def _go_on(self, until: int, over: Callable[[], bool]) -> None:
        step, scheduler = 0, self.scheduler
        try:
            while scheduler.step(until):
                step += 1
                if self._wrong is not None:
                    raise WrongError(self.story(self._wrong))
                if step % 16 == 0 and over():
                    return
                if scheduler.steps > self.shape.most_steps:
                    raise WrongError(self.story(f"{scheduler.steps} steps, and no end"))
        finally:
            scheduler.leave_loop()

    def _calm_down(self) -> None:
        """From now on nothing goes wrong any more, and everything must end."""
        self.calm = True
        self.away_until = 0
        self.watch.punctual_from = self.time.now + invariants.PUNCTUAL
        self.watch.late = max(invariants.LATE, int(self.settings["heartbeat"] * 2.5e6))  # who dies is missed by then
        self.note("world", "calms down")
        soon = self.time.now + 15_000_000
        for strand in self._strands:
            if strand.stands_still_until > soon:
                strand.freeze(soon)
        if not any(host.slots and not host.dead for host in self.hosts) and not self._revivals:
            self.host("worker0", slots=2)
        for host in self.hosts:  # what some have no code for would else be put off again and again
            if host.worker is not None and not host.dead and not host.deployed[1] and host.engine.alive:
                host.stop()
        self.tell(invariants.moved_on(self.tables, self.time.now))
        self.tell(self.ground.look())
        self._push_on()

    def _push_on(self) -> None:
        """Time and again whatever may happen happens, as long as somebody waits for it: also who has begun only now.
        And what somebody had paused who is gone is resumed."""
        if self.tables.pauses:
            self.outside(partial(outside.resume_all, self))
        if any(map(self.parts.waiting_for, plans.KEYS)):
            self.outside(partial(outside.push_all, self))
        self.scheduler.remember(self.time.now + int(self.shape.liveness / 8 * 1e6), None, self._push_on)

    def _is_over(self) -> bool:
        tables = self.tables
        return (
            all(host.is_gone or client.done() for host, client in self._clients)
            and not self._unfinished
            and not any(strand.stands_still_until > self.time.now and not strand.dead for strand in self._strands)
            and not tables.gates
            and not tables.moved
        )

    def _has_settled(self) -> bool:
        """Those who executed what was over, or were frozen, have heard of it; and so has who was interrupted while it
        asked for something, which is done all the same."""
        executes = any(each.running or each._slots._free != each._slots.count for each in self._executors())
        if executes or not self._is_over():
            return False
        tables = self.tables
        under_way = bool(tables.open) or any(pause.resumed_at is not None for pause in tables.pauses.values())
        under_way = under_way or any(urgent.place is not None for urgent in tables.urgent.values())
        return not under_way and not any(tables.mail.values()) and not any(tables.watchers.values())

    def _executors(self) -> Iterator[Executor]:
        """Of the processes that are still there."""
        for host in self.hosts:
            executor = None if host.worker is None else host.worker._executor
            if not host.dead and host.engine.alive and executor is not None:
                yield executor

    def _look_back(self) -> None:
        for host, client in self._clients:
            if not client.done() and not host.is_gone:
                self.wrong(f"{host.name} still waits")
            elif client.done() and client.exception() is not None:
                self.wrong(f"{host.name} got {client.exception()!r}")
        self.tell(invariants.at_the_end(self.tables, self.watch.history, self.maker))
        self.tell(self.parts.at_the_end())
        self.tell(self.purse.at_the_end())
        self.tell(self.ground.look())
        for run_id in self.acknowledged:
            if id_bytes(run_id) not in self.tables.runs and id_bytes(run_id) not in self.watch.deleted:
                self.wrong(f"{run_id} was acknowledged, and is not there")
        for executor in self._executors():
            slots = executor._slots
            if slots._free != slots.count or executor.running:
                self.wrong(f"{slots._free} of {slots.count} slots are free, and {executor.running} run(s) in the end")
            if executor.durables._attempts:
                self.wrong(f"{len(executor.durables._attempts)} attempt(s) of durable tasks are kept in the end")
        if self._wrong is not None:
            raise WrongError(self.story(self._wrong))

    def story(self, what: str) -> str:
        """The last moments, to be read."""
        last = [each for each in self._said if each[2] not in ROUTINE][-REMEMBERED:]
        lines = [f"{(when - self.time.start) / 1e6:12.6f}  {who:<16} {said}" for when, who, said in last]
        rates = {fault: rate for fault, rate in self.rates.items() if rate}
        kind = f"{self.kind}, pages of {self.page or 'the usual size'}, a {'file' if self.embedded else 'server'}'s"
        return "\n".join([
            f"seed {self.seed}: {what}", f"{kind} manners, rates {rates}", self.program, *lines, "", what,
            f"Again: python -m tests.simulation --seed {self.seed}{self.shape}{self.less}",
        ])  # fmt: skip
