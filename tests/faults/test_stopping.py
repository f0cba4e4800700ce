"""Workers and scripts that are asked to stop: what they leave is handed back, and charged to nobody."""

import signal

import pytest

from fanwood.model.states import RunState
from tests.faults.processes import Site, until


def charged(site: Site) -> list[tuple[int, int, int]]:
    return site.rows("select distinct state, retry_count, deaths from run where task in ('patient', 'sync_child')")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_does_not_end_in_time_is_handed_back(site: Site, number: signal.Signals) -> None:
    worker = site.worker(slots=2, grace=0.3)
    refs = [site.spawn("patient", n=n, seconds=600) for n in range(2)]
    until(lambda: len(site.journal("begin")) == 2, "both have begun")
    refs += [site.spawn("sync_child", n=n) for n in range(2)]
    worker.signal(number)
    assert worker.wait() == 0
    assert charged(site) == [(RunState.QUEUED, 0, 0)]
    assert site.rows("select * from worker where pid = ?", worker.pid) == []
    assert "Traceback" not in worker.log

    second = site.worker()
    results = [ref.result(timeout=300) for ref in refs]
    assert {result["pid"] for result in results} <= {second.pid}
    site.check_tidy()


def test_what_ends_in_time_is_finished(site: Site) -> None:
    worker = site.worker(grace=600)
    refs = [site.spawn("sync_child", n=n, seconds=0.5) for n in range(4)]
    until(lambda: len(site.journal("begin")) == 4, "all have begun")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert [ref.result(timeout=300) for ref in refs] == [{"attempt": 1, "pid": worker.pid}] * 4


def test_the_second_signal_hurries(site: Site) -> None:
    worker = site.worker(grace=600)
    site.spawn("patient", seconds=600)
    until(lambda: site.journal("begin"), "it has begun")
    worker.signal(signal.SIGTERM)
    until(lambda: "stopping" in worker.log, "the first one was noticed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert charged(site) == [(RunState.QUEUED, 0, 0)]


def test_sync_code_that_goes_on_does_not_hold_up_the_stop(site: Site) -> None:
    worker = site.worker(grace=0.2)
    site.spawn("sync_child", n=1, seconds=600)
    until(lambda: site.journal("begin"), "it has begun")
    worker.signal(signal.SIGTERM)
    worker.wait()
    assert charged(site) == [(RunState.QUEUED, 0, 0)]


def test_a_script_that_is_interrupted_leaves_work_that_a_later_process_finishes(site: Site) -> None:
    script = site.process("run", "parent", '{"n": 4000, "seconds": 0.1}', slots=20).expect("running")
    until(lambda: site.database.exists() and site.journal("begin"), "children have begun")
    until(lambda: site.in_state(RunState.COMPLETED) >= 50, "some children completed")
    script.signal(signal.SIGINT)
    assert script.wait() != 0
    assert script.log.rstrip().endswith("KeyboardInterrupt")
    completed = site.completed()
    assert 50 <= len(completed) < 4000
    assert site.rows("select distinct state from run where state <> 8") == [(0,)]
    assert site.count("select sum(deaths) + sum(retry_count) from run") == 0

    site.worker(slots=1000)
    (root,) = site.rows("select id from run where parent_id is null")
    assert site.client.runs.get_result(root[0].hex(), timeout=300) == sum(n * n for n in range(4000))
    site.check_never_again(completed)
    site.check_tidy()
