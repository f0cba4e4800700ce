"""What worlds are made of: threads that hand over a baton, and how a world that shows something is made smaller."""

from __future__ import annotations

import asyncio
import gc
import os
import pkgutil
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any
from weakref import ref

import pytest

from fanwood import Fanwood
from fanwood.engine import membership, waking
from fanwood.model.states import RunState
from fanwood.settings import Settings
from fanwood.store.memory import store as memory
from fanwood.store.memory.tables import Tables
from fanwood.store.sqlite import leaving
from tests.simulation import grounds, pages
from tests.simulation.looking import CHANGES, Seen, Total, look_at
from tests.simulation.loops import Scheduler, VirtualLoop, VirtualTime
from tests.simulation.machine import patched
from tests.simulation.shapes import SMALL, Less, on
from tests.simulation.shrinking import shrunk
from tests.simulation.threads import VirtualThread, WorldEvent, WorldLock
from tests.simulation.world import FAULTS, World


def test_a_world_is_gone_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for the next one, and what all worlds declare alike, keep nothing of it."""
    worlds = list[ref[World]]()
    begin = World.__init__

    def begun(world: World, *given: Any, **named: Any) -> None:
        worlds.append(ref(world))
        begin(world, *given, **named)

    monkeypatch.setattr(World, "__init__", begun)
    for seed in range(2):
        look_at(seed, shape=SMALL)
    gc.collect()
    assert [world() for world in worlds] == [None, None]


def _order(seed: int) -> list[str]:
    """Three threads that count under a lock, and wait for each other; who came when."""
    random, came = Random(seed), list[str]()
    scheduler = Scheduler(VirtualTime(), random)
    lock, begin = WorldLock(scheduler, random), WorldEvent(scheduler)
    inside = 0

    def live(name: str) -> None:
        nonlocal inside
        if name == "a":
            assert not begin.wait(1.0)
            begin.set()
        assert begin.wait()
        for _ in range(5):
            with lock:
                inside += 1
                threads["abc".index(name)].let_others()
                assert inside == 1
                inside -= 1
                came.append(name)

    threads = [
        VirtualThread(scheduler, name, number, lambda name=name: live(name)) for number, name in enumerate("abc")
    ]
    for thread in threads:
        thread.wake()
    while scheduler.step(scheduler.time.start + 10_000_000):
        pass
    assert [thread.failure for thread in threads] == [None] * 3
    return came


def test_threads_go_on_one_at_a_time_in_the_order_of_the_seed() -> None:
    assert _order(1) == _order(1)
    assert len({tuple(_order(seed)) for seed in range(5)}) > 1
    assert Counter(_order(2)) == dict.fromkeys("abc", 5)


def test_a_thread_that_waits_when_the_world_is_over_ends() -> None:
    scheduler = Scheduler(VirtualTime(), Random(0))
    left = list[str]()

    def live() -> None:
        try:
            WorldEvent(scheduler).wait()
        finally:
            left.append("it")

    thread = VirtualThread(scheduler, "one", 1, live)
    thread.wake()
    scheduler.step(scheduler.time.start + 1_000_000)
    assert not left
    thread.end()
    assert left


def test_threads_of_others_have_nothing_of_a_world() -> None:
    """As those of an engine that a test before has left behind in this process."""
    world, found = World(1), list[Any]()

    def live() -> None:
        with waking.threading.Lock():
            asyncio.run(memory.asyncio.sleep(0))
        found.extend([waking.threading.Event(), waking.threading.get_ident(), membership.os.getpid()])
        found.append(Settings.load(heartbeat=1.5) is Settings.load(heartbeat=1.5))

    other = threading.Thread(target=live)
    with patched(world):
        before = world.random.getstate()
        other.start()
        other.join()
        assert isinstance(waking.threading.Event(), WorldEvent)
        assert world.random.getstate() == before
    assert isinstance(found.pop(0), threading.Event)
    assert found == [other.ident, os.getpid(), False]


def test_a_loop_may_not_block() -> None:
    scheduler = Scheduler(VirtualTime(), Random(0))
    with pytest.raises(TypeError, match="a loop blocks"):
        WorldEvent(scheduler).wait()


def test_a_world_is_made_as_small_as_it_can_be() -> None:
    """Of one that is wrong as long as there is this fault and this run, nothing else is left."""

    def look(seed: int, less: Less) -> Seen:
        faults = Counter({(fault, "commit"): 1 for fault in FAULTS if fault not in less.faults})
        program = "".join(f"  {number} plain\n" for number in range(5) if number not in less.runs)
        wrong = "so" if ("busy", "commit") in faults and "  3 " in program else ""
        return Seen(seed, wrong, 1, 1.0, 1, faults, Counter(), "", program)

    less, seen = shrunk(7, look)
    assert set(less.faults) == {*FAULTS} - {"busy"}
    assert set(less.runs) == {0, 1, 2, 4}
    assert seen.wrong


def test_what_never_happened_is_told() -> None:
    assert len(Total().never) == len(CHANGES) + len(FAULTS)
    total = Total()
    total.add(Seen(0, "", 1, 1.0, 1, Counter({("busy", "commit"): 1}), Counter(dict.fromkeys(CHANGES, 1)), "", ""))
    assert set(total.never) == {*FAULTS} - {"busy"}


# --- a world that stands on a file ------------------------------------------------------------------------------------


ON_FILE = on("sqlite", SMALL)


def test_a_world_on_a_file_is_of_its_seed_alone() -> None:
    assert look_at(1, shape=ON_FILE) == look_at(1, shape=ON_FILE)


def test_what_a_file_says_is_held_against_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes it, and nobody is told."""

    def told(tables: Tables, kind: str, old: Any, new: Any, update: Any) -> None:
        if kind != "UPDATE" or old[14] != RunState.RUNNING:
            grounds._run(tables, kind, old, new, update)

    monkeypatch.setitem(grounds._ROWS, "run", told)
    assert any("the file says" in look_at(seed, shape=ON_FILE).wrong for seed in range(40))


def test_a_mistake_in_sql_is_seen_by_a_world_on_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file writes no letters to parents."""
    statements: dict[str, str] = dict(leaving._SQL)
    (name,) = (name for name, text in statements.items() if "where p.state = 1\n" in text)
    monkeypatch.setattr(
        leaving, "_SQL", {**statements, name: statements[name].replace("p.state = 1\n", "p.state = 9\n")}
    )
    assert any(look_at(seed, shape=ON_FILE).wrong for seed in range(20))


def test_pages_of_a_world_are_all_that_there_are() -> None:
    """Whoever adds one to a store names it: a world's trees are smaller."""
    named = {(module.__name__, name) for module, name in pages.PAGES}
    for of in ("memory", "sqlite"):
        for found in pkgutil.iter_modules(import_module(f"fanwood.store.{of}").__path__, f"fanwood.store.{of}."):
            module = import_module(found.name)
            assert "PAGE" not in vars(module) or (found.name, "PAGE") in named, found.name
    usual = {(module, name): getattr(module, name) for module, name in pages.PAGES}
    assert min(usual.values()) > max(pages.SIZES)
    world = World(next(seed for seed in range(100) if pages.drawn(seed, SMALL.pages) == 3))
    with patched(world):
        assert {getattr(module, name) for module, name in usual} == {3}
        world._end()
    assert {place: getattr(*place) for place in usual} == usual
    assert {pages.drawn(seed, SMALL.pages) for seed in range(100)} == {pages.USUAL, *pages.SIZES}


def test_nothing_is_left_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounds, "in_memory", lambda: tmp_path)
    assert not look_at(2, shape=ON_FILE).wrong
    assert not list(tmp_path.iterdir())


def test_what_is_done_outside_is_never_asked_of_a_process_that_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a day many stop in good order: each of three pushes went to one of those, and who waited for them did so for
    ever."""
    world, asked = World(1), list[str]()

    async def does(app: Fanwood) -> None:
        asked.append(world._host_of(app).name)

    with patched(world):
        for number in range(20):
            world.host(f"client{number}", slots=0)
        world._go_on(world.time.now + 1_000_000, lambda: False)
        for host in world.hosts[:-1]:
            host.engine.stop()
        world._go_on(world.time.now + 1_000_000, lambda: False)
        for _ in range(20):
            world.outside(does)
        world._go_on(world.time.now + 1_000_000, lambda: False)
        world._end()
    assert asked == ["client19.1"] * 20


def test_a_group_that_breaks_off_cancels_in_order() -> None:
    """Not in that of addresses, which is another one in each process."""
    world = World(0)
    loop = VirtualLoop(world.scheduler, "one", 1, lambda *_: None)
    world.scheduler.disturb_at = None
    cancelled: list[int] = []

    async def member(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(number)

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(member(number))
            tasks.create_task(fails())

    with patched(world):
        loop.create_task(group())
        while not cancelled or loop._ready:
            world.scheduler.step(world.time.now + 10_000_000)
        loop.end()
    assert cancelled == list(range(50))
