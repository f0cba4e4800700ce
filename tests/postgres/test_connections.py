"""A process has at most four connections, however busy it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fanwood import Fanwood
from tests.postgres.cluster import Cluster
from tests.postgres.roles import database_of

_OURS = "select application_name from pg_stat_activity where datname = $1 and application_name like 'fanwood:%'"


def test_a_busy_process_has_four_connections(
    postgres_cluster: Cluster, postgres_url: str, make_app: Callable[..., Fanwood]
):
    app = make_app(url=postgres_url, heartbeat=0.05, sweep=0.05)

    @app.task
    async def child(n: int) -> int:
        return n

    @app.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    over = threading.Event()
    seen: list[list[str]] = []

    def watch() -> None:
        while not over.is_set():
            rows = postgres_cluster.fetch(_OURS, database_of(postgres_url))
            seen.append(sorted(row[0] for row in rows))

    def look(id_: str) -> None:
        while not over.is_set():
            app.runs.list()
            app.runs.children(id_)
            app.runs.cancel(id_)

    with ThreadPoolExecutor(8) as threads:
        watching = threads.submit(watch)
        first = parent.run_no_wait(10)
        assert first.result(timeout=20) == 45
        kept = parent.run_no_wait(300)
        looking = [threads.submit(look, kept.id) for _ in range(4)]
        try:
            for _ in range(5):
                parent.run(300, timeout=20)
        finally:
            over.set()
        for done in (watching, *looking):
            done.result()
    most = max(seen, key=len)
    assert most == [f"fanwood:{os.getpid()}:{role}" for role in ("beat", "hot", "reader", "side")]
