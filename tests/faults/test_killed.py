"""`kill -9` of a worker process in the middle of a fan-out: nothing is lost, nothing completed runs again."""

import os
import random
import signal
import time

import pytest

from fanwood.model.states import RunState
from tests.faults.processes import AppProcess, Site, until

CHILDREN = 800
SECONDS = 0.1
"""So long that a tree is not done before the test has looked, on a machine that has others to serve."""
LEASE = 50.0


def squares(count: int) -> int:
    return sum(n * n for n in range(count))


def recovered(site: Site, by: AppProcess, killed_at: float) -> float:
    """Seconds from the kill until the parent ran elsewhere."""
    until(lambda: any(line.pid == by.pid for line in site.journal("parent")), "the parent runs elsewhere")
    started = site.count("select started_at from run where task = 'parent'")
    return started / 1e6 - killed_at


@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_another_worker_that_runs_already_finishes_the_tree(site: Site, reap: bool) -> None:
    workers = [site.process("worker", slots=10, lease=LEASE) for _ in range(2)]
    pids = {worker.expect("started").pid for worker in workers}
    ref = site.spawn("parent", n=CHILDREN, seconds=SECONDS)
    until(lambda: {line.pid for line in site.journal("begin")} == pids, "both take part")
    until(lambda: site.in_state(RunState.COMPLETED) > 50, "some children completed")
    first, second = workers if site.worker_of("parent") == workers[0].pid else workers[::-1]

    killed_at = time.time()
    first.kill(reap=reap)
    completed = site.completed()
    assert len(completed) < CHILDREN

    assert ref.result(timeout=500) == squares(CHILDREN)
    took = recovered(site, second, killed_at)
    print(f"running elsewhere after {took:.2f} s")
    assert took < LEASE, "it is seen that the process is gone: nobody waits for its lease to lapse"
    site.check_never_again(completed)
    assert site.in_state(RunState.COMPLETED) == CHILDREN
    site.check_tidy()


def test_a_worker_that_is_started_later_finishes_the_tree(site: Site) -> None:
    first = site.worker(slots=10)
    ref = site.spawn("parent", n=CHILDREN, seconds=SECONDS)
    until(lambda: site.in_state(RunState.COMPLETED) > 200, "some children completed")
    first.kill()
    completed = site.completed()
    assert 200 < len(completed) < CHILDREN

    site.worker(slots=100)
    assert ref.result(timeout=500) == squares(CHILDREN)
    site.check_never_again(completed)
    assert site.in_state(RunState.COMPLETED) == CHILDREN
    site.check_tidy()


@pytest.mark.long
def test_workers_killed_again_and_again(site: Site) -> None:
    settings = {"slots": 8, "deaths_limit": 1000}  # what is killed here isn't the runs' fault
    site.client_settings = {"deaths_limit": 1000}  # a client reaps as well
    workers = [site.process("worker", **settings) for _ in range(3)]
    for worker in workers:
        worker.expect("started")
    dice = random.Random(7)
    ref = site.spawn("parent", n=500, seconds=0.1)
    end = time.monotonic() + 2
    kills = 0
    while time.monotonic() < end:
        time.sleep(0.5)
        number = dice.randrange(3)
        workers[number].kill()
        kills += 1
        workers[number] = site.process("worker", **settings)
    print(f"{kills} kills; {site.in_state(RunState.COMPLETED)} children completed meanwhile")

    assert ref.result(timeout=500) == squares(500)
    outputs = site.rows("select input ->> 'n', output from run where task = 'child' order by 1")
    assert [(n, int(output)) for n, output in outputs] == [(n, n * n) for n in range(500)]
    site.check_tidy()


def test_poison(site: Site) -> None:
    """A task that kills its workers fails after three of them; who ran beside it is cleared."""
    worker = site.worker(slots=4)
    beside = [site.spawn("bystander", n=n, seconds=1.5) for n in range(12)]
    poison = site.client.find("killer").run_no_wait({}, priority=2)
    deaths = 0
    while site.in_state(RunState.FAILED, "killer") == 0 and deaths < 5:
        if not worker.alive:
            deaths += 1
            assert worker.popen.returncode == -signal.SIGKILL
            worker = site.worker(slots=4)
        time.sleep(0.02)
    if deaths < 3:  # its run was failed before we looked: while threads of its process were still ending
        worker.popen.wait(timeout=300)
        deaths += 1
        site.worker(slots=4)

    assert deaths == 3
    with pytest.raises(Exception, match=r"poison: 3 workers in a row died while executing killer") as caught:
        poison.result(timeout=300)
    assert type(caught.value).__name__ == "TaskRunPoisoned"
    assert [ref.result(timeout=300) for ref in beside] == list(range(12))
    kills = site.journal("kill")
    assert [line.attempt for line in kills] == [1, 2, 3]
    assert kills[0].about > 0  # others were executing beside it
    assert kills[2].about == 0  # a suspect runs alone
    site.check_tidy()


def test_a_blocked_loop_keeps_its_lease(site: Site) -> None:
    lease = {"lease": 10.0, "heartbeat": 0.3}  # longer than the machine may stand still
    site.worker(**lease)
    other = site.worker("whoami", **lease)
    ref = site.spawn("blocks_its_loop", seconds=12)
    assert ref.result(timeout=300) == 1
    assert len(site.journal("begin")) == 1
    assert "is lost" not in other.log
    assert os.getpid() not in {line.pid for line in site.journal()}
