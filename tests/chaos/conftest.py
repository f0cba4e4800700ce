"""What every scenario gets: a store, processes on it, and dice that fall again as they fell, given the seed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.backends import Backend, Sqlite, migrated
from tests.chaos.fleet import Fleet
from tests.chaos.scale import FAILED_SEEDS, fresh_seed, scaled

MakeFleet = Callable[..., Fleet]
Report = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if os.name != "posix" and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs POSIX signals"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A fresh seed, and all with which this test has failed before."""
    if "seed" in metafunc.fixturenames:
        failed = scaled([], FAILED_SEEDS.get(metafunc.function.__name__, []))
        seeds = [fresh_seed(), *failed]
        metafunc.parametrize("seed", seeds, ids=["", *map(str, seeds[1:])])


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Says what was measured: `make chaos` is a report."""
    print(f"\n--- {request.node.name.removeprefix('test_')}")
    return lambda line: print(f"    {line}", flush=True)


@pytest.fixture
def dice(seed: int, report: Report) -> random.Random:
    report(f"seed: FANWOOD_CHAOS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def sqlite(tmp_path: Path) -> Backend:
    return Sqlite(tmp_path)


@pytest.fixture
def postgres(postgres_url: str) -> Backend:
    return migrated(postgres_url)


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.getfixturevalue(request.param)


@pytest.fixture
def url(backend: Backend) -> Iterator[str]:
    """Of applications in this process."""
    yield backend.url
    backend.close()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def make_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeFleet]:
    made: list[Fleet] = []

    def make(backend: Backend, **settings: Any) -> Fleet:
        made.append(Fleet(backend, tmp_path, **{"deaths_limit": 1_000_000, "grace": 1, **settings}))
        return made[-1].__enter__()

    yield make
    for fleet in reversed(made):
        if request.node.stash.get(FAILED, False):
            fleet.print_logs()
        fleet.__exit__()
