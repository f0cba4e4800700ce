"""Measured: budgets, shared runs, second runs, a tree that is paused, and one that is forked."""

import time
from collections.abc import Callable

from benchmarks import tasks
from benchmarks.job import Job
from benchmarks.numbers import Figures, percentiles
from benchmarks.sharing_tasks import Spends
from benchmarks.tasks import WARM_UP, FanOut, declare
from fanwood import Budget

PATIENCE = 60.0


def spend(job: Job) -> Figures:
    budget = Budget(units={"usd": 1_000_000})
    with declare(job) as app:
        one, several = app.find("spender"), app.find("spenders")
        one.run(Spends(n=WARM_UP), budget=budget)
        taken = one.run(Spends(n=job.size), budget=budget)
        at_once = several.run(Spends(n=job.size), budget=budget)
    return {**percentiles(taken), "rate": job.size / at_once}


def reserve(job: Job) -> Figures:
    budget = Budget(units={"usd": 1_000_000})
    with declare(job) as app:
        task = app.find("reserver")
        task.run(Spends(n=WARM_UP), budget=budget)
        return percentiles(task.run(Spends(n=job.size), budget=budget))


def share(job: Job) -> Figures:
    """Callers that ask for one run, beside as many that have a child each."""
    with declare(job) as app:
        task = app.find("callers")
        for shared in (True, False):
            task.run(Spends(n=WARM_UP, shared=shared))
        shared, apart = (task.run(Spends(n=job.size, shared=shared)) for shared in (True, False))
    return {"rate": job.size / shared, "ratio": shared / apart}


def hedge(job: Job) -> Figures:
    with declare(job) as app:
        task = app.find("hedger")
        task.run(Spends(n=2))
        return percentiles(task.run(Spends(n=job.size, first=2)))


def pause(job: Job) -> Figures:
    """Of a tree that is under way; then it goes on."""
    with declare(job) as app:
        task = app.find("fan_out")
        task.run(FanOut(n=WARM_UP))
        first = tasks.executed
        ref = task.run_no_wait(FanOut(n=job.size))
        _until(lambda: tasks.executed >= first + max(1, job.size // 20))
        start = time.perf_counter()
        app.runs.pause(ref.workflow_run_id)
        paused = time.perf_counter() - start
        time.sleep(1)  # what was under way has ended
        still = tasks.executed
        start = time.perf_counter()
        app.runs.resume(ref.workflow_run_id)
        _until(lambda: tasks.executed > still or still == first + job.size)  # (so few had all ended)
        again = time.perf_counter() - start
        ref.result()
        seconds = time.perf_counter() - start
    left = first + job.size - still
    return {"pause": paused * 1e3, "again": again * 1e3, "rate": left / seconds}


def fork(job: Job) -> Figures:
    """Of a tree that has ended: all of its children are copied."""
    with declare(job) as app:
        task = app.find("fan_out")
        task.run(FanOut(n=WARM_UP))
        ref = task.run_no_wait(FanOut(n=job.size))
        ref.result()
        before = tasks.executed
        start = time.perf_counter()
        made = app.runs.fork(ref.workflow_run_id)
        forked = time.perf_counter() - start
        made.result()
        seconds = time.perf_counter() - start
        assert tasks.executed == before
    return {"fork": forked * 1e3, "rate": job.size / seconds}


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen")
        time.sleep(0.0005)


MEASUREMENTS: dict[str, Callable[[Job], Figures]] = {
    "spend": spend,
    "reserve": reserve,
    "share": share,
    "hedge": hedge,
    "pause": pause,
    "fork": fork,
}
