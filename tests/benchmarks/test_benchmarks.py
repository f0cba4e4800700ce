"""That the benchmark works and says what it found. Never how fast: no test here looks at a time."""

import json
from pathlib import Path

import pytest

from benchmarks import catalogue, floor, report, startup
from benchmarks.__main__ import main
from benchmarks.catalogue import at_least, at_most
from benchmarks.machine import Machine
from benchmarks.runner import Result

FIGURE = {"key", "label", "unit", "value", "samples", "target", "met"}


@pytest.fixture(autouse=True)
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "STARTS", 1)


def bench(folder: Path, *arguments: str) -> tuple[int, dict]:
    output = folder / "figures" / "latest.json"
    code = main(["--url", f"sqlite:///{folder / 'bench.db'}", "--json", str(output), "--repeat", "1", *arguments])
    return code, json.loads(output.read_text(encoding="utf-8"))


# --- a whole run, very small -----------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_every_benchmark_yields_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = bench(tmp_path, "--size", "50", "--slots", "10")

    assert code == 0
    assert found["version"] == report.VERSION
    assert found["repeat"] == 1
    assert found["machine"].keys() == Machine.__annotations__.keys()
    assert [b["name"] for b in found["benchmarks"]] == catalogue.names()
    for benchmark in found["benchmarks"]:
        assert benchmark["error"] is None, benchmark
        assert benchmark["figures"]
        for figure in benchmark["figures"]:
            assert figure.keys() == FIGURE
            assert len(figure["samples"]) == 1
            assert (figure["met"] is None) == (figure["target"] is None)
    slots = {b["name"]: b["slots"] for b in found["benchmarks"]}
    assert (slots["fanout-1k"], slots["recursion"], slots["waiting"]) == (10, 1, 8)
    shown = capsys.readouterr().out
    assert "fan-out: 50 async children" in shown
    assert "a binary tree of 31 async runs" in shown
    assert "(1) The floor" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["figures"], "databases were left behind"


def test_only_takes_the_beginnings_of_names() -> None:
    found = catalogue.chosen(["recursion", "cold"])

    assert [b.name for b in found] == ["recursion", "recursion-wide", "recursion-sync", "recursion-mixed", "cold"]


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "fanuot"], "no benchmark's name begins with 'fanuot'; there are: fanout-1k, "),
        (["--url", "mysql://x/y"], "--url must be sqlite:///relative/path.db or sqlite:////absolute/path.db"),
        (["--url", "sqlite:////nowhere/at/all.db"], "--url: there is no folder /nowhere/at"),
        (["--repeat", "0"], "must be at least 1, and is 0"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_benchmark_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FANWOOD_MAX_PAYLOAD_BYTES", "1")  # no input may travel
    code, found = bench(tmp_path, "--size", "10", "--only", "sync,import")

    assert code == 1
    errors = {b["name"]: b["error"] for b in found["benchmarks"]}
    assert "fanwood.errors.PayloadTooLargeError" in errors["sync"]
    assert errors["import"] is None
    assert "FAILED: fanwood.errors.PayloadTooLargeError" in capsys.readouterr().out


# --- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "code"), [(0.0, 1), (1e9, 0)])
def test_check_makes_a_missed_target_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: float, code: int
) -> None:
    import_ = next(b for b in catalogue.BENCHMARKS if b.name == "import")
    figure = catalogue.Figure("ms", "import", "ms", at_most(bound))
    changed = catalogue.Benchmark("import", "import", "import", (figure,), import_.size, import_.quick)
    monkeypatch.setattr(catalogue, "BENCHMARKS", (changed,))

    assert bench(tmp_path, "--check")[0] == code
    assert bench(tmp_path)[0] == 0


def test_a_target_is_a_bound_from_one_side() -> None:
    assert at_most(3.5).met_by(3.5)
    assert not at_most(3.5).met_by(3.6)
    assert at_least(20_000).met_by(20_000)
    assert not at_least(20_000).met_by(19_999)
    assert (str(at_most(3.5)), str(at_least(20_000))) == ("<= 3.5", ">= 20,000")


def test_the_median_of_the_repeats_is_the_figure() -> None:
    result = Result(catalogue.BENCHMARKS[0], 100, [{"rate": 10.0}, {"rate": 90.0}, {"rate": 20.0}])

    assert result.value("rate") == 20.0


# --- the floor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [floor.DURABLE, floor.BARE], ids=lambda shape: shape.name)
@pytest.mark.parametrize("rows", [1, 1000, 1001])
def test_the_floor_completes_every_row(tmp_path: Path, shape: floor.Shape, rows: int) -> None:
    assert floor.seconds_for(shape, tmp_path / "floor.db", rows) > 0
