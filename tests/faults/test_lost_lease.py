"""A worker that does not know yet that it was taken for dead: what it claims then must not be forgotten."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from fanwood import Fanwood
from tests.faults.processes import until


def reap(app: Fanwood, by: Fanwood) -> None:
    """`by` takes the worker of `app` for dead."""
    worker_id = app.engine().worker_id
    by.engine().call(lambda store: store.reap(worker_id, 3)).result(300)


def orphans(app: Fanwood) -> list[Any]:
    return app.engine().call(lambda store: store.report()).result(300).orphans


def test_a_claim_under_a_lease_that_is_lost(make_app: Callable[..., Fanwood]) -> None:
    worker = make_app(lease=60.0, heartbeat=1.0)
    other = make_app(local_worker=False)
    begun, go_on = threading.Semaphore(0), threading.Event()

    async def task(input: dict) -> int:
        begun.release()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return input["n"]

    ref = worker.task(name="task")(task).run_no_wait({"n": 0})
    assert begun.acquire(timeout=300)
    registration = worker.engine().worker_id
    reap(worker, other)
    stub = other.task(name="task")(task)
    refs = [ref, *stub.run_many_no_wait([stub.create_bulk_run_item({"n": n}) for n in range(1, 20)])]
    until(lambda: worker.engine().worker_id != registration, "it has entered itself again")
    go_on.set()
    assert [ref.result(timeout=300) for ref in refs] == list(range(20))
    assert orphans(other) == []
