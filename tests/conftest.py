"""What all tests share: a database of their own, and an application on it that is closed in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fanwood import Fanwood
from tests.places import in_memory
from tests.postgres.cluster import Cluster
from tests.postgres.databases import Databases
from tests.postgres.pgbouncer import found as find_pgbouncer

MakeApp = Callable[..., Fanwood]

if folder := in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))  # where pytest makes every tmp_path
os.environ.setdefault("PGSSLMODE", "disable")  # our server has no certificate; to prepare for one takes a while
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script has started us in the background: processes that tests
    signal.signal(signal.SIGINT, signal.default_int_handler)  # interrupt would inherit that

SESSIONS_OUTLIVE = {
    "conformance", "semantics",
    "test_acting.py", "test_events.py", "test_lost_answers.py", "test_scripted.py", "test_steps.py",
}  # fmt: skip
"""Folders and files whose tests have sessions of PostgreSQL that others had before (`tests.postgres.sessions`)."""

MANY_PROCESSES = {"benchmarks", "chaos", "crashes", "faults"}
FIRST = {"test_simulation.py": 0, "browser": 1, "test_sweep.py": 2}
"""What takes minutes: begun last, it would be waited for by all that are done. A folder stays together: what its tests
share is dear, and one process has it (`tests/beside/forks.py`)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests start many processes stand between the others, and not at the end: where files are tested
    beside each other, few of them are at a time, and none is left over; and the longest come first."""
    place: dict[Path, float] = {}
    files = dict.fromkeys(item.path for item in items)
    for many, until in ((True, 0.8), (False, 1.0)):
        these = [path for path in files if (path.parent.name in MANY_PROCESSES) == many]
        place |= {path: (number + 0.5) / len(these) * until for number, path in enumerate(these)}
    place |= {
        path: FIRST[name] - len(FIRST) for path in files for name in (path.name, path.parent.name) if name in FIRST
    }
    items.sort(key=lambda item: place[item.path])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/fanwood.db"


@pytest.fixture
def make_app(url: str) -> Iterator[MakeApp]:
    """Makes applications, by default on one database and working in-process, each as if in a process of its own; closes
    them, the newest first."""
    made: list[Fanwood] = []

    def make(**settings: Any) -> Fanwood:
        app = Fanwood(settings.pop("url", url), **{"local_worker": True, "shared": False, **settings})
        made.append(app)
        return app

    yield make
    for app in reversed(made):
        app.close()


@pytest.fixture
def app(make_app: MakeApp) -> Fanwood:
    return make_app()


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """One server for all tests, started when the first asks for it. A test that stops a server starts its own.

    Fanwood's sessions have no JIT, and those of tests need none: it compiles for seconds what is executed once."""
    with Cluster({"max_connections": 200, "jit": False}, below=in_memory()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_databases(postgres_cluster: Cluster) -> Iterator[Databases]:
    with Databases(postgres_cluster) as databases:
        yield databases


@pytest.fixture
def postgres_url(
    request: pytest.FixtureRequest, postgres_cluster: Cluster, postgres_databases: Databases
) -> Iterator[str]:
    """A database with Fanwood's schema and nothing else in it, or without that too (`pytest.mark.empty_database`). It
    is gone afterwards, also for those who are still connected to it."""
    schema = request.node.get_closest_marker("empty_database") is None
    kept = schema and bool(SESSIONS_OUTLIVE & {request.path.parent.name, request.path.name})
    name = postgres_databases.take_kept() if kept else postgres_databases.take(schema=schema)
    yield postgres_cluster.url(name)
    postgres_databases.give_back(name)


@pytest.fixture(scope="session")
def pgbouncer_program() -> str:
    """Asked for by tests that start a tests.postgres.pgbouncer.Pgbouncer."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("pgbouncer isn't installed")
    return program
