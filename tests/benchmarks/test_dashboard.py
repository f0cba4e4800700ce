"""That the dashboard is measured, and every figure comes. Never how good it is."""

import json
from pathlib import Path

import pytest

from benchmarks import dashboard
from benchmarks.databases import SQLITE

SMALL = ["--runs", "2001", "--failed", "20", "--fanout", "20", "--seconds", "0.2", "--no-browser"]


@pytest.mark.long
def test_every_figure_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "ROUNDS", 1)
    monkeypatch.setattr(dashboard, "SETTLE", 0.1)
    output = tmp_path / "figures.json"
    assert dashboard.main(["--store", SQLITE, *SMALL, "--json", str(output)]) == 0
    rows = json.loads(output.read_text(encoding="utf-8"))[SQLITE]
    told = {row["what"]: row["value"] for row in rows}
    assert told["kinds of failures"] == 3
    assert told["... it says so many"] == 19
    assert told["... of that without"] > 0
    assert len(rows) >= 20
