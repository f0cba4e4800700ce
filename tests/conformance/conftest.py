"""The backends. Another one is another entry here; what it must do is in the tests beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import pytest

from fanwood import ManualClock, Settings
from fanwood.store.opening import store_for
from fanwood.store.store import Store
from tests.conformance.stage import MakeStore, Stage

BACKENDS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/conformance.db",
}
"""From a backend's name to the URL of a new, empty database."""


def _makes_stores(backend: str, folder: Path) -> MakeStore:
    folder.mkdir(exist_ok=True)
    settings = Settings.load(database_url=BACKENDS[backend](folder))

    def make(clock: ManualClock) -> Store:
        return store_for(settings, clock)

    return make


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store_factory(backend: str, tmp_path: Path) -> MakeStore:
    """Makes unopened stores of one backend, all on one database."""
    return _makes_stores(backend, tmp_path)


@pytest.fixture
def store_factories(backend: str, tmp_path: Path) -> Callable[[], MakeStore]:
    """As `store_factory`, on a new database for each call."""
    numbers = count()
    return lambda: _makes_stores(backend, tmp_path / str(next(numbers)))


@pytest.fixture
async def stage(store_factory: MakeStore) -> AsyncIterator[Stage]:
    stage = Stage(store_factory)
    await stage.open()
    yield stage
    await stage.close()
