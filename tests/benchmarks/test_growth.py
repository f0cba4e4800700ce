"""That every verb is measured on both stores, and that one which grows is marked. Never how quick they are."""

import json
from pathlib import Path

import pytest

from benchmarks import growth, growth_verbs
from benchmarks.growth import Grown, table
from benchmarks.growth_verbs import VERBS
from benchmarks.history import STEP, TREE, History, failed_single
from fanwood.model.states import RunState

LITTLE = 10 * STEP


@pytest.mark.long
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_every_verb_yields_its_figures(
    store: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(growth_verbs, "FAR", 500)
    monkeypatch.setattr(growth_verbs, "PAGE", 10)
    monkeypatch.setattr(growth, "LEAST", LITTLE)
    url = request.getfixturevalue("postgres_url") if store == "postgres" else f"sqlite:///{tmp_path / 'x.db'}"
    output = tmp_path / "figures" / "growth.json"
    sizes = ["--small", str(LITTLE), "--large", str(LITTLE + STEP)]

    code = growth.main(["--url", url, *sizes, "--rounds", "1", "--json", str(output)])

    found = json.loads(output.read_text(encoding="utf-8"))
    assert {figure["name"]: figure["error"] for figure in found["figures"] if figure["error"]} == {}
    assert code == 0
    assert [figure["name"] for figure in found["figures"]] == [name for verb in VERBS for name in verb.names]
    assert all(figure["store"] == store and figure["small"] > 0 for figure in found["figures"])
    assert "tree_counts of 1,000" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["figures"], "something was left behind"


def test_history_is_as_it_is_said_to_be() -> None:
    history = History(2 * STEP, 1_700_000_000_000_000)
    rows = list(history.rows())
    ids = [row[0] for row in rows]

    assert ids == sorted(set(ids))
    assert sum(row[1] is None for row in rows) == 2 * (1 + STEP - TREE)
    assert sum(row[2] == history.root(1) for row in rows) == TREE
    states = {row[0]: row[11] for row in rows}
    assert states[history.single(1, failed_single(1))] == RunState.FAILED
    assert list(History(2 * STEP, history.end).rows()) == rows, "not the same for the same number"


def test_what_grows_is_marked() -> None:
    grows = Grown("sqlite", "one", [1e-3, 2e-3, 3e-3], [2.7e-3])
    stays = Grown("sqlite", "two", [2e-3], [2.5e-3])
    noise = Grown("sqlite", "three", [10e-6], [20e-6])

    assert (grows.ratio, grows.exceeds) == (pytest.approx(1.35), True)
    assert (stays.exceeds, noise.exceeds) == (False, False)
    lines = table([grows, stays, noise], 1, 2).splitlines()
    assert [line.partition(" ")[0] for line in lines if line.endswith("MORE THAN 1.3")] == ["one"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--small", "10"], "must be at least 66,660, and is 10"),
        (["--only", "nothing", "--store", "sqlite"], "no verb begins with nothing"),
        (["--url", "mysql://x/y"], "--url must be sqlite:///relative/path.db, "),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        growth.main(arguments)

    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
