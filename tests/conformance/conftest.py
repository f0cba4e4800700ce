"""The backends. Another one is another entry here; what it must do is in the tests beside this file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest

from fanwood import ManualClock, Settings
from fanwood.store.opening import store_for
from fanwood.store.store import Store
from tests.conformance.stage import MakeStore, Stage
from tests.postgres.cluster import Cluster
from tests.postgres.pgbouncer import Pgbouncer

Database = Callable[[pytest.FixtureRequest, int], Settings]


def _sqlite(request: pytest.FixtureRequest, number: int) -> Settings:
    return Settings.load(database_url=f"sqlite:///{request.getfixturevalue('tmp_path')}/conformance-{number}.db")


def _postgres(request: pytest.FixtureRequest, number: int) -> Settings:
    return Settings.load(database_url=request.getfixturevalue("postgres_url"), postgres_schema=f"conformance_{number}")


def _pgbouncer(request: pytest.FixtureRequest, number: int) -> Settings:
    """The same through a pooler, where each transaction may meet another session."""
    database = request.getfixturevalue("postgres_url").rpartition("/")[2]
    url = request.getfixturevalue("pgbouncer").url(database)
    return Settings.load(database_url=url, postgres_schema=f"conformance_{number}", pgbouncer=True)


BACKENDS: dict[str, Database] = {"sqlite": _sqlite, "postgres": _postgres, "pgbouncer": _pgbouncer}
"""From a backend's name to the settings for its n-th new, empty database."""

THROUGH_A_POOLER = {"test_claiming.py", "test_keys.py", "test_verbs.py", "test_workers.py"}
"""Every kind of statement occurs in these. The others pass as well, and take their time: FANWOOD_TEST_POOLER=all"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("FANWOOD_TEST_POOLER") == "all":
        return
    config.hook.pytest_deselected(items=[item for item in items if _is_left_out(item)])
    items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item: pytest.Item) -> bool:
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("backend")
    return backend == "pgbouncer" and item.path.name not in THROUGH_A_POOLER


def _makes_stores(settings: Settings) -> MakeStore:
    def make(clock: ManualClock) -> Store:
        return store_for(settings, clock)

    return make


@pytest.fixture(scope="session")
def pgbouncer(postgres_cluster: Cluster, pgbouncer_program: str) -> Iterator[Pgbouncer]:
    with Pgbouncer(postgres_cluster) as pgbouncer:
        yield pgbouncer


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store_factory(backend: str, request: pytest.FixtureRequest) -> MakeStore:
    """Makes unopened stores of one backend, all on one database."""
    return _makes_stores(BACKENDS[backend](request, 0))


@pytest.fixture
def store_factories(backend: str, request: pytest.FixtureRequest) -> Callable[[], MakeStore]:
    """As `store_factory`, on a new database for each call."""
    numbers = count()
    return lambda: _makes_stores(BACKENDS[backend](request, next(numbers)))


@pytest.fixture
async def stage(store_factory: MakeStore) -> AsyncIterator[Stage]:
    stage = Stage(store_factory)
    await stage.open()
    yield stage
    await stage.close()
