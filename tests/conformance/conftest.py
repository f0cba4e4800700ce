"""The backends. Another one is another entry here; what it must do is in the tests beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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


@pytest.fixture(params=list(BACKENDS))
def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes unopened stores of one backend, all on one database."""
    settings = Settings.load(database_url=BACKENDS[request.param](tmp_path))

    def make(clock: ManualClock) -> Store:
        return store_for(settings, clock)

    return make


@pytest.fixture
async def stage(store_factory: MakeStore) -> AsyncIterator[Stage]:
    stage = Stage(store_factory)
    await stage.open()
    yield stage
    await stage.close()
