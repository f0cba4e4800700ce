"""What is measured of a million children of one parent."""

from collections.abc import Callable

from benchmarks.durable import PATIENCE, until
from benchmarks.job import Job
from benchmarks.numbers import Figures
from benchmarks.tasks import WARM_UP, FanOut, declare
from benchmarks.workers import Workers


def million(job: Job) -> Figures:
    """A tenth first: what a stream of that length needs, one ten times as long is to need as well."""
    with Workers(job), declare(job, local_worker=False) as client:
        folded = client.find("folded")
        folded.run(FanOut(n=WARM_UP))
        _, before = folded.run(FanOut(n=job.size // 10))
        seconds, memory = folded.run(FanOut(n=job.size))
    return {"rate": job.size / seconds, "memory": memory, "growth": memory - before}


def million_resume(job: Job) -> Figures:
    with declare(job, local_worker=False) as client:
        with Workers(job) as lost:
            ref = client.find("interrupted").run_no_wait(FanOut(n=job.size))
            until(lambda: client.runs.counts(ref.id).progress is not None)
            lost.kill()
        with Workers(job):
            seconds, memory = ref.result(PATIENCE)
    return {"seconds": seconds, "memory": memory}


MEASUREMENTS: dict[str, Callable[[Job], Figures]] = {"million": million, "million_resume": million_resume}
