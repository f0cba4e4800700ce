"""What worlds are made of: threads that hand over a baton, and how a world that shows something is made smaller."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from fanwood.model.states import TRANSITIONS
from tests.simulation.looking import Seen, Total
from tests.simulation.loops import Scheduler, VirtualTime
from tests.simulation.shapes import Less
from tests.simulation.shrinking import shrunk
from tests.simulation.threads import VirtualThread, WorldEvent, WorldLock
from tests.simulation.world import FAULTS


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
    possible = {(before, after) for (before, _), targets in TRANSITIONS.items() for after in targets}
    assert len(Total().never) == len(possible) + len(FAULTS)
    total = Total()
    total.add(Seen(0, "", 1, 1.0, 1, Counter({("busy", "commit"): 1}), Counter(dict.fromkeys(possible, 1)), "", ""))
    assert set(total.never) == {*FAULTS} - {"busy"}
