"""The backends. Another one is another entry here; what it must do is in the tests beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest

from fanwood import ManualClock, Settings
from fanwood.store.opening import store_for
from fanwood.store.store import Store
from tests.conformance.stage import MakeStore, Stage

Database = Callable[[pytest.FixtureRequest, int], Settings]


def _sqlite(request: pytest.FixtureRequest, number: int) -> Settings:
    return Settings.load(database_url=f"sqlite:///{request.getfixturevalue('tmp_path')}/conformance-{number}.db")


def _postgres(request: pytest.FixtureRequest, number: int) -> Settings:
    return Settings.load(database_url=request.getfixturevalue("postgres_url"), postgres_schema=f"conformance_{number}")


BACKENDS: dict[str, Database] = {"sqlite": _sqlite, "postgres": _postgres}
"""From a backend's name to the settings for its n-th new, empty database."""


def _makes_stores(settings: Settings) -> MakeStore:
    def make(clock: ManualClock) -> Store:
        return store_for(settings, clock)

    return make


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
