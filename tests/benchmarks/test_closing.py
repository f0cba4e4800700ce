"""That every scenario goes through, and sees what there is to see. What it finds of Fanwood isn't a test's to say."""

import json
from pathlib import Path

import pytest

from benchmarks import closing, closing_scenarios, closing_stage
from benchmarks.closing_looking import Heartbeats
from benchmarks.closing_scenarios import DEPTH
from benchmarks.closing_stage import Figure
from benchmarks.closing_states import COLUMNS, deep_tree, fan_out
from fanwood.model.states import RunState
from tests.chaos.scale import scaled

ID, PARENT, DEPTH_OF, STATE = (COLUMNS.index(name) for name in ("id", "parent_id", "depth", "state"))
SMALL = [
    "--children",
    "200",
    "--tree",
    "300",
    "--timers",
    "300",
    "--expiring",
    "100",
    "--parents",
    "50",
    "--cancels",
    "1",
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("store", "names"),
    scaled(
        [("sqlite", ["fails", "cancelled", "timers"]), ("postgres", ["tree", "busy", "expired", "dead"])],
        [("sqlite", ["timers"]), ("postgres", ["busy", "dead"])],
    ),
)
def test_scenarios_yield_their_figures(
    store: str, names: list[str], tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue("postgres_url") if store == "postgres" else f"sqlite:///{tmp_path / 'x.db'}"
    for name, seconds in (("CALM", 0.3), ("SETTLED", 0.2)):
        monkeypatch.setattr(closing_stage, name, seconds)
    for name, seconds in (("AHEAD", 5.0), ("AFTER", 0.2), ("UNDER_LOAD", 0.2)):
        monkeypatch.setattr(closing_scenarios, name, seconds)
    output = tmp_path / "figures" / "closing.json"

    code = closing.main(["--url", url, *SMALL, "--json", str(output), "--only", ",".join(names)])

    found = json.loads(output.read_text(encoding="utf-8"))
    assert {scenario["name"]: scenario["error"] for scenario in found["scenarios"]} == dict.fromkeys(names)
    assert code == 0
    for scenario in found["scenarios"]:
        figures = {figure["label"]: figure["value"] for figure in scenario["figures"]}
        assert figures.get("living below it then", 0) == 0
        assert figures["workers that were taken for lost"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["figures"], "something was left behind"


def test_states_are_as_they_are_said_to_be() -> None:
    rows = list(fan_out(bytes(16), "x", "fail", 10))
    assert [row[STATE] for row in rows].count(RunState.COMPLETED) == 5
    assert [row[STATE] for row in rows].count(RunState.QUEUED) == 6

    tree = list(deep_tree(bytes(16), 1000, DEPTH, 1))
    depths = {row[ID]: row[DEPTH_OF] for row in tree}
    assert len(depths) == 1000
    assert set(depths.values()) == set(range(DEPTH))
    assert all(depths[row[PARENT]] == row[DEPTH_OF] - 1 for row in tree if row[PARENT] is not None)
    assert all((row[STATE] == RunState.QUEUED) == (row[DEPTH_OF] == DEPTH - 1) for row in tree)


def test_the_largest_gap_is_one_that_reaches_into_the_time() -> None:
    heartbeats = Heartbeats(eye=None)  # type: ignore[arg-type]
    heartbeats._seen = {1: [0.0, 9.0, 11.0, 13.0], 2: [10.0, 12.5], 3: [11.0]}
    heartbeats._there = {1: 20.0, 2: 20.0, 3: 12.0}

    assert heartbeats.largest_gap(10.0, 14.0) == 2.5
    assert heartbeats.largest_gap(8.0, 14.0) == 9.0


def test_a_limit_is_from_one_side() -> None:
    assert [Figure("x", 2, "s", 2).met, Figure("x", 3, "s", 2).met] == [True, False]
    assert [Figure("x", 2, "/s", 2, least=True).met, Figure("x", 1, "/s", 2, least=True).met] == [True, False]
    assert Figure("x", 1, "s").met is None


def test_a_mistake_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        closing.main(["--only", "nothing"])

    assert exit_.value.code == 2
    assert "no scenario's name begins with nothing; there are: fails, completes, " in capsys.readouterr().err
