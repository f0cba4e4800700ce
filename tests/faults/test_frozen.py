"""A worker that freezes past its lease (SIGSTOP) and wakes up: it can change nothing, and starts anew."""

import signal

from fanwood.model.states import RunState
from tests.faults.processes import AppProcess, Site, until

LEASE = {"lease": 6.0, "heartbeat": 0.3}
"""Longer than the machine itself may stand still: only who is frozen loses it."""


def freeze_until_taken_over(site: Site, first: AppProcess, count: int) -> AppProcess:
    """Freeze a worker that executes `count` runs; the worker that did them all meanwhile."""
    until(lambda: len(site.journal("begin")) == count, "all have begun")
    site.freeze(first)
    second = site.worker(**LEASE)
    until(lambda: len([line for line in site.journal("begin") if line.pid == second.pid]) == count, "taken over")
    until(lambda: site.count("select count(*) from run where state = 8") == count, "completed by the other")
    return second


def test_late_results_are_refused(site: Site) -> None:
    first = site.worker(**LEASE)
    refs = [site.spawn("sync_child", n=n, seconds=5) for n in range(5)]
    second = freeze_until_taken_over(site, first, 5)
    before = site.rows("select id, state, attempt, output, finished_at from run order by id")

    first.signal(signal.SIGCONT)
    until(lambda: len([line for line in site.journal("end") if line.pid == first.pid]) == 5, "its code has ended")
    until(lambda: "this worker's lease lapsed and its runs were taken over" in first.log, "it has noticed")
    assert site.rows("select id, state, attempt, output, finished_at from run order by id") == before
    assert [ref.result(timeout=300) for ref in refs] == [{"attempt": 2, "pid": second.pid}] * 5
    site.check_tidy()


def test_its_tasks_are_cancelled_and_it_starts_anew(site: Site) -> None:
    first = site.worker(**LEASE)
    refs = [site.spawn("patient", n=n, seconds=120) for n in range(5)]
    registration = site.count("select id from worker where pid = ?", first.pid)
    second = freeze_until_taken_over(site, first, 5)

    first.signal(signal.SIGCONT)
    until(lambda: len(site.journal("cancelled")) == 5, "its tasks were cancelled")
    assert {line.pid for line in site.journal("cancelled")} == {first.pid}
    assert [ref.result(timeout=300) for ref in refs] == [{"attempt": 2, "pid": second.pid}] * 5
    until(lambda: "this worker's lease lapsed and its runs were taken over; it starts anew" in first.log, "it says so")

    second.kill()
    until(lambda: site.count("select count(*) from worker where pid = ?", second.pid) == 0, "the other is reaped")
    assert site.spawn("whoami").result(timeout=300) == first.pid
    assert site.count("select id from worker where pid = ?", first.pid) > registration
    site.check_tidy()


def test_work_that_waits_when_it_wakes_up(site: Site) -> None:
    """It must not claim under the lease that it lost: nobody would ever look at such runs again."""
    first = site.worker(**LEASE)
    for n in range(5):
        site.spawn("patient", n=n, seconds=120)
    until(lambda: len(site.journal("begin")) == 5, "all have begun")
    site.freeze(first)
    site.client  # noqa: B018  (its engine takes the runs back)
    until(lambda: site.in_state(RunState.QUEUED, "patient") == 5, "they are queued again")
    refs = [site.spawn("whoami", n=n) for n in range(20)]

    first.signal(signal.SIGCONT)
    assert [ref.result(timeout=300) for ref in refs] == [first.pid] * 20
    until(lambda: site.in_state(RunState.COMPLETED, "patient") == 5, "they were executed again")
    site.check_tidy()
