"""Every promise on every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fanwood import Context, Fanwood
from fanwood.engine import housekeeping
from fanwood.store.memory.memory import join
from tests.chaos.scale import FULL

IN_DATABASES_ONLY = {"test_spoilt.py", "test_unreadable.py"}
"""Rows that somebody has written by hand."""


ABOVE_STORES = {
    "test_logging.py": set[str](),
    "test_options.py": {
        "test_of_a_wait",
        "test_of_a_call",
        "test_of_a_task",
        "test_of_a_step",
        "test_of_a_workflow",
        "test_of_the_context",
        "test_of_a_worker",
    },
    "test_values.py": {"test_of_what_is_asked_for"},
}
"""What no store has a part in (of a file without names, all): in memory only."""
IN_OUR_OWN_PROCESS = {
    "test_bulks.py", "test_chunks.py", "test_conditions.py", "test_given_up.py", "test_groups.py",
    "test_hooks.py", "test_identity.py", "test_interrupts.py",
    "test_loops.py", "test_objects.py", "test_order.py", "test_outcomes.py", "test_owning.py", "test_publishing.py",
    "test_pydantic_ai.py", "test_references.py", "test_steps.py", "test_streams.py", "test_surroundings.py",
    "test_tools.py", "test_workflow_failures.py", "test_workflows.py",
}  # fmt: skip
"""What is above a store and asks it for nothing of its own: a server has a part in these in the long form only, and in
what a store is asked for it always has (`tests/conformance`)."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if _is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item: pytest.Item) -> bool:
    if item.path.parent != Path(__file__).parent or not (url := _url_of(item)):
        return False
    if "memory" in url:
        return item.path.name in IN_DATABASES_ONLY
    if "postgres" in url and item.path.name in IN_OUR_OWN_PROCESS and not FULL:
        return True
    names = ABOVE_STORES.get(item.path.name)
    return names is not None and (not names or getattr(item, "originalname", "") in names)


def _url_of(item: pytest.Item) -> str:
    return str(getattr(getattr(item, "callspec", None), "params", {}).get("url", ""))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        url = f"memory:{tmp_path}"
        memory, user = join(url, None, lambda: None)  # kept for as long as the test lasts
        yield url
        memory.leave(user)
    elif request.param == "postgres":
        yield request.getfixturevalue("postgres_url")
    else:
        yield f"sqlite:///{tmp_path}/fanwood.db"


@pytest.fixture(autouse=True)
def _nobody_looks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a word that was never said would be made up for by the next look, and nobody would miss it."""
    monkeypatch.setattr(housekeeping, "RECHECK_EVERY", 3600.0)


class Number(BaseModel):
    n: int


@pytest.fixture
def square(app: Fanwood) -> Any:
    @app.task(input_validator=Number)
    async def square(input: Number, ctx: Context) -> int:
        return input.n**2

    return square


@pytest.fixture
def cube(app: Fanwood) -> Any:
    @app.task(input_validator=Number)
    def cube(input: Number, ctx: Context) -> int:
        return input.n**3

    return cube
