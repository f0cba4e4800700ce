"""That the soak sees what grows, and finds its rate. What it finds of Fanwood itself is not for a test to say."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak_figures import FIGURES, Figure, figure_of, in_order, judge
from benchmarks.soak_pace import SETTLE, STEADY, Pace
from benchmarks.soak_processes import WorkerDiedError, Workers
from benchmarks.soak_report import Report, Sample
from fanwood import Settings

EVERYWHERE = {"rate", "trees", "runs", "unfinished", "tree_p50", "root_p99", "child_p99", "mail", "watch", "oldest"}
ON_POSTGRES = {"all", "live", "walk_pages", "walk_ms", "connections", "wal", "dead:run", "table:run", "index:run_ready"}


# --- a whole one, very short -----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("store", "seen"),
    [("sqlite", EVERYWHERE | {"file", "free", "log"}), ("postgres", EVERYWHERE | ON_POSTGRES)],
)
def test_a_soak_yields_its_figures(
    store: str, seen: set[str], tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    url = request.getfixturevalue("postgres_url") if store == "postgres" else f"sqlite:///{tmp_path / 'soak.db'}"
    output = tmp_path / "figures" / "soak.json"
    arguments = ["--url", url, "--json", str(output), "--minutes", "0.1", "--rate", "5", "--children", "5"]

    code = soak.main([*arguments, "--workers", "1"])

    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["failures"] == []
    assert {sample["phase"] for sample in found["samples"]} == {"search", "settle", "steady"}
    assert seen <= {key for sample in found["samples"] for key in sample["figures"]}
    verdicts = {verdict["key"]: verdict["verdict"] for verdict in found["verdicts"]}
    assert {"trees", "mail", "oldest"} <= verdicts.keys()
    assert code == int(any(verdict in {"GROWS", "FALLS"} for verdict in verdicts.values()))
    assert "a root in the queue: 99th percentile" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["figures"], "something was left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "0"], "must be more than 0, and is 0.0"),
        (["--url", "mysql://x/y"], "--url must be sqlite:///relative/path.db, "),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        soak.main(arguments)

    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_worker_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    settings = replace(Settings(), database_url="mysql://x/y")
    with Workers(settings, 1, tmp_path) as workers:
        workers._processes[0].wait()
        with pytest.raises(WorkerDiedError, match=r"ended by itself \(exit code \d+\):\n.*mysql"):
            workers.check()


# --- what grows ------------------------------------------------------------------------------------------------------

TIMES = [10.0 * n for n in range(60)]
SIZE = Figure("size", "size", "MB", tolerance=0.15, least=5)


def test_what_is_the_same_is_flat() -> None:
    verdict = judge(SIZE, TIMES, [100.0] * 60)

    assert (verdict.judgement, verdict.ratio, verdict.change) == ("FLAT", 1.0, 0.0)


def test_a_rise_beyond_the_tolerance_is_growth() -> None:
    verdict = judge(SIZE, TIMES, [100.0 + n for n in range(60)])

    assert verdict.judgement == "GROWS"
    assert verdict.bad
    assert (verdict.first, verdict.last) == (109.5, 149.5)
    assert judge(SIZE, TIMES, [100.0 + 0.1 * n for n in range(60)]).judgement == "FLAT"
    assert judge(SIZE, TIMES, [100.0 - n for n in range(60)]).judgement == "FLAT", "smaller is well"


def test_what_is_not_worth_mentioning_does_not_grow() -> None:
    assert judge(SIZE, TIMES, [0.01 * n for n in range(60)]).judgement == "FLAT"


def test_a_saw_is_flat() -> None:
    assert judge(SIZE, TIMES, [100.0 + 20 * (n % 6) for n in range(60)]).judgement == "FLAT"


def test_a_rise_is_seen_through_noise_and_noise_is_no_rise() -> None:
    dice = random.Random(1)
    noise = [dice.gauss(0, 30) for _ in TIMES]

    assert judge(SIZE, TIMES, [100 + wild for wild in noise]).judgement == "FLAT"
    assert judge(SIZE, TIMES, [100 + n + wild for n, wild in enumerate(noise)]).judgement == "GROWS"


def test_a_rate_must_not_fall() -> None:
    rate = Figure("rate", "rate", "/s", tolerance=0.1, least=5, falls=True)

    assert judge(rate, TIMES, [500.0 - n for n in range(60)]).judgement == "FALLS"
    assert judge(rate, TIMES, [500.0 + n for n in range(60)]).judgement == "FLAT"


def test_what_is_only_shown_is_not_judged() -> None:
    verdict = judge(Figure("load", "load"), TIMES, [float(n) for n in range(60)])

    assert (verdict.judgement, verdict.bad) == ("", False)


def test_every_relation_has_a_name_and_comes_after_the_rest() -> None:
    assert figure_of("index:run_ready").label == "index run_ready"
    assert in_order({"table:run", "dead:mail", "load", "trees"}) == ["trees", "load", "dead:mail", "table:run"]
    assert len({figure.key for figure in FIGURES}) == len(FIGURES)


def test_only_the_steady_time_is_judged(made_report: Report) -> None:
    made_report.samples += [Sample(n, "search", {"mail": 1e6 * n}) for n in range(10)]
    made_report.samples += [Sample(10 + n, STEADY, {"mail": 5.0}) for n in range(10)]

    assert [verdict.judgement for verdict in made_report.verdicts()] == ["FLAT"]


def test_trees_that_could_not_be_started_are_a_failure(made_report: Report) -> None:
    made_report.samples += [Sample(n, STEADY, {}) for n in range(0, 101, 10)]

    made_report.note_left_out(99, rate=100)
    assert made_report.failures == []
    made_report.note_left_out(101, rate=100)
    assert made_report.failures == ["101 trees were left out: 100 trees/s could not be kept"]


@pytest.fixture
def made_report() -> Report:
    return Report(machine=None, options={})  # type: ignore[arg-type]


# --- the rate --------------------------------------------------------------------------------------------------------


def simulated(pace: Pace, seconds: int, most: float, unfinished: int = 0) -> int:
    """A machine that can do `most` trees per second; how many are unfinished then."""
    for _ in range(seconds):
        started = 0 if pace.held else round(pace.rate)
        after = max(0, round(unfinished + started - most))
        pace.note(1.0, started, unfinished, after)
        unfinished = after
    return unfinished


def test_a_machine_that_can_keeps_the_rate_that_is_wanted() -> None:
    pace = Pace(500)
    simulated(pace, 60, most=1000)
    pace.enter(SETTLE)

    assert (pace.rate, pace.limit) == (500, None)


def test_another_one_keeps_most_of_what_it_can() -> None:
    pace = Pace(500)
    simulated(pace, 60, most=200)
    pace.enter(SETTLE)

    assert pace.limit == pytest.approx(200, rel=0.1)
    assert pace.rate == pytest.approx(160, rel=0.1)


def test_what_it_can_only_until_it_must_clear_away_is_not_kept() -> None:
    pace = Pace(500)
    unfinished = simulated(pace, 60, most=1000)
    pace.enter(SETTLE)
    simulated(pace, 120, most=300, unfinished=unfinished)
    pace.enter(STEADY)

    assert pace.rate == pytest.approx(240, rel=0.15)


def test_one_bad_second_is_not_the_limit() -> None:
    pace = Pace(500)
    simulated(pace, 40, most=1000)
    pace.note(1.0, 500, 0, 490)
    simulated(pace, 10, most=1000, unfinished=490)
    pace.enter(SETTLE)

    assert pace.rate == 500


def test_far_too_many_unfinished_trees_hold_back_new_ones() -> None:
    pace = Pace(100)
    simulated(pace, 20, most=1000)
    pace.enter(STEADY)

    unfinished = simulated(pace, 25, most=50)
    assert pace.held
    simulated(pace, 1, most=1000, unfinished=unfinished)
    assert not pace.held
