"""The backends. Another one is another entry here; what it must do is in the tests beside this file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest

from fanwood import ManualClock, Settings
from fanwood.store.memory.memory import join
from fanwood.store.opening import store_for
from fanwood.store.store import Store
from tests.conformance.stage import MakeStore, Stage
from tests.postgres.cluster import Cluster
from tests.postgres.databases import Databases
from tests.postgres.pgbouncer import Pgbouncer

Database = Callable[[pytest.FixtureRequest, int], Settings]


def _sqlite(request: pytest.FixtureRequest, number: int) -> Settings:
    return Settings.load(database_url=f"sqlite:///{request.getfixturevalue('tmp_path')}/conformance-{number}.db")


def _memory(request: pytest.FixtureRequest, number: int) -> Settings:
    """Kept for as long as the test lasts."""
    url = f"memory:{request.getfixturevalue('tmp_path')}/{number}"
    memory, user = join(url, None, lambda: None)
    request.addfinalizer(lambda: memory.leave(user))
    return Settings.load(database_url=url)


def _postgres(request: pytest.FixtureRequest, number: int) -> Settings:
    return Settings.load(database_url=request.getfixturevalue("postgres_urls")(number))


def _pgbouncer(request: pytest.FixtureRequest, number: int) -> Settings:
    """The same through a pooler, where each transaction may meet another session."""
    database = request.getfixturevalue("postgres_urls")(number).rpartition("/")[2]
    return Settings.load(database_url=request.getfixturevalue("pgbouncer").url(database), pgbouncer=True)


BACKENDS: dict[str, Database] = {"memory": _memory, "sqlite": _sqlite, "postgres": _postgres, "pgbouncer": _pgbouncer}
"""From a backend's name to the settings for its n-th new, empty database."""

THROUGH_A_POOLER = {
    "test_claiming.py": {
        "test_a_claimed_run_is_as_it_was_spawned",
        "test_many_alike_and_mixed_in_one_batch",
        "test_a_delayed_run_is_not_claimed_before_its_time",
        "test_what_is_left_over_is_counted_by_whose_it_is",
    },
    "test_keys.py": set[str](),
    "test_verbs.py": set[str](),
    "test_workers.py": {
        "test_register_renew_unregister",
        "test_who_is_served",
        "test_what_is_queued_and_served_by_nobody",
        "test_a_dead_workers_runs_go_back_and_are_charged",
        "test_the_schedule_timeout",
        "test_a_moved_deadline_reaches_all_below_that_have_it",
        "test_a_watched_run",
        "test_another_instance_is_hinted_at_a_change",
        "test_two_instances_see_one_queue",
    },
}
"""Every kind of statement occurs in these (of a file without names, all). The others pass as well, and take their time:
FANWOOD_TEST_POOLER=all"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("FANWOOD_TEST_POOLER") == "all":
        return
    config.hook.pytest_deselected(items=[item for item in items if _is_left_out(item)])
    items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item: pytest.Item) -> bool:
    if getattr(getattr(item, "callspec", None), "params", {}).get("backend") != "pgbouncer":
        return False
    names = THROUGH_A_POOLER.get(item.path.name)
    return names is None or (bool(names) and getattr(item, "originalname", "") not in names)


def _makes_stores(settings: Settings) -> MakeStore:
    def make(clock: ManualClock) -> Store:
        return store_for(settings, clock)

    return make


@pytest.fixture(scope="session")
def pgbouncer(postgres_cluster: Cluster, pgbouncer_program: str) -> Iterator[Pgbouncer]:
    with Pgbouncer(postgres_cluster) as pgbouncer:
        yield pgbouncer


@pytest.fixture
def postgres_urls(
    postgres_url: str, postgres_cluster: Cluster, postgres_databases: Databases
) -> Iterator[Callable[[int], str]]:
    others: dict[int, str] = {}

    def url(number: int) -> str:
        if number and number not in others:
            others[number] = postgres_databases.take_kept()
        return postgres_cluster.url(others[number]) if number else postgres_url

    yield url
    for name in others.values():
        postgres_databases.give_back(name)


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
def store_factory_anew(backend: str, request: pytest.FixtureRequest) -> Callable[[], MakeStore]:
    """As `store_factories`, but each call may have the database of the one before: nobody is at it any more."""
    if backend != "postgres":
        return request.getfixturevalue("store_factories")
    name = request.getfixturevalue("postgres_url").rpartition("/")[2]
    databases = request.getfixturevalue("postgres_databases")

    def factory() -> MakeStore:
        databases.empty(name)
        return _makes_stores(BACKENDS[backend](request, 0))

    return factory


@pytest.fixture
async def stage(store_factory: MakeStore) -> AsyncIterator[Stage]:
    async with Stage(store_factory) as stage:
        yield stage
