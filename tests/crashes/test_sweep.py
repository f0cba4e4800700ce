"""Processes that are killed at named points, in a short form: each scenario once. `make crashes` does it everywhere."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.crashes import __main__ as whole
from tests.crashes import points
from tests.crashes.planted import PLANTED
from tests.crashes.scenarios import SCENARIOS
from tests.faults.processes import AppProcess

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals"),
    pytest.mark.timeout(600),  # dozens of processes, one after the other
]

ON_A_SERVER = ("closing", "copy", "prune", "reaping", "upgrade")
"""Where a server does most by itself; all others on a file."""
SEED = 1
PATIENCE = 500.0


def swept(folder: Path, url: str, *arguments: str) -> list[dict[str, Any]]:
    """What a sweep says of each kill."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FANWOOD_")},
        "PYTHONPATH": os.pathsep.join([str(whole.ROOT), str(whole.ROOT / "src")]),
    }
    (folder / "swept").mkdir()
    given = [str(folder / "swept"), url, *arguments]
    process = AppProcess(given, environment, folder / "log", tuple(whole.PROGRAM))
    try:
        assert process.wait(PATIENCE) == 0, process.log
        return [json.loads(line) for line in process.rest()]
    finally:
        process.dispose()


def clean(kills: list[dict[str, Any]], scenarios: list[str]) -> None:
    for kill in kills:
        assert not kill["wrong"], f"{kill['scenario']}, killed at {kill['point']} ({kill['nth']}): {kill['wrong']}"
    assert [kill["scenario"] for kill in kills if kill["reached"]] == scenarios


@pytest.mark.long
def test_whoever_is_killed_on_a_file_is_gone_on_for(tmp_path: Path) -> None:
    scenarios = [name for name, scene in SCENARIOS.items() if name not in ON_A_SERVER and not scene.beside]
    scenarios.append("cancel_beside")
    # Only in `make crashes`, or below.
    for name in ("sleep", "event", "event_if", "old_events", "hooks", "message", "surgery_of_many"):
        scenarios.remove(name)
    clean(swept(tmp_path, "sqlite:///", f"--sample={SEED}", *(f"--scenario={name}" for name in scenarios)), scenarios)


def test_between_a_step_and_its_record(tmp_path: Path) -> None:
    """It is done once more, and that is recorded."""
    clean(swept(tmp_path, "sqlite:///", "--scenario=sleep", "--at=engine: _ended: done"), ["sleep"])


@pytest.mark.long
def test_whoever_is_killed_on_a_server_is_gone_on_for(tmp_path: Path, postgres_url: str) -> None:
    scenarios = [name for name in SCENARIOS if name in ON_A_SERVER]
    clean(swept(tmp_path, postgres_url, f"--sample={SEED}", *(f"--scenario={name}" for name in scenarios)), scenarios)


def test_mistakes_are_seen(tmp_path: Path) -> None:
    kills = swept(tmp_path, "sqlite:///", "--planted")
    assert [kill["seen"] for kill in kills] == [mistake.seen for mistake in PLANTED]
    for kill in kills:
        assert kill["reached"]
        assert kill["seen"] in kill["wrong"]


def test_every_point_is_where_it_is_said_to_be() -> None:
    for module, names in points.STEPS.items():
        for name in names:
            place: Any = importlib.import_module(module)
            for part in name.split("."):
                place = getattr(place, part)
            assert callable(place)
    for store in whole.KINDS:
        assert whole.UNREACHED[store] <= {*points.VERBS, *(name for each in points.STEPS.values() for name in each)}


def test_there_are_scenarios_enough() -> None:
    asked = (
        "spawn bulk wait retry backoff cancel recursion workflow replay prune idempotent_root upgrade stop closing copy"
    )
    assert set(asked.split()) <= set(SCENARIOS)
    assert set(ON_A_SERVER) <= set(SCENARIOS)
