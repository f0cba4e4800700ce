"""That the benchmark works and says what it found. Never how fast: no test here looks at a time."""

import json
from pathlib import Path

import pytest

from benchmarks import (
    __main__,
    catalogue,
    claiming,
    floor_postgres,
    floor_sqlite,
    places,
    report,
    runner,
    startup,
    tasks,
    workloads,
)
from benchmarks.__main__ import main
from benchmarks.catalogue import Figure, at_least, at_most
from benchmarks.databases import POSTGRES, SQLITE, Place
from benchmarks.job import Job
from benchmarks.machine import Machine, Server
from benchmarks.numbers import Figures
from benchmarks.runner import Result
from tests.postgres.binaries import MissingBinariesError
from tests.postgres.cluster import Cluster

FIGURE = {"key", "label", "unit", "value", "samples", "target", "met"}


@pytest.fixture(autouse=True)
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "STARTS", 1)


def bench(folder: Path, *arguments: str, url: str = "") -> tuple[int, dict]:
    output = folder / "figures" / "latest.json"
    url = url or f"sqlite:///{folder / 'bench.db'}"
    code = main(["--url", url, "--json", str(output), "--repeat", "1", *arguments])
    return code, json.loads(output.read_text(encoding="utf-8"))


# --- a whole run, very small -----------------------------------------------------------------------------------------


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each measurement in a process of its own; and few rounds."""

    def measure(workload: str, size: int, slots: int, place: Place) -> Figures:
        if workload in (
            "pushes",
            "workers",
            "wakeup",
            "suspended",
            "assistant",
            "million",
            "million_resume",
        ):  # several processes each, that take seconds to begin
            figures = next(b.figures for b in catalogue.BENCHMARKS if b.workload == workload)
            return {figure.key: 1.0 for figure in figures}
        monkeypatch.setattr(tasks, "executed", 0)
        with place.new() as new:
            return workloads.MEASUREMENTS[workload](Job(workload, size, slots, new))

    monkeypatch.setattr(runner, "_in_process", measure)
    monkeypatch.setattr(claiming, "WARM_UP", 1)
    monkeypatch.setattr(claiming, "ROUNDS", 2)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_benchmark_yields_its_figures(
    tmp_path: Path, in_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = bench(tmp_path, "--size", "30", "--slots", "10")

    assert code == 0
    assert found["version"] == report.VERSION
    assert found["repeat"] == 1
    assert found["machine"].keys() == Machine.__annotations__.keys()
    assert found["machine"]["postgres"] is None
    assert {b["store"] for b in found["benchmarks"]} == {SQLITE}
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
    assert "fan-out: 30 async children" in shown
    assert "a binary tree of 15 async runs" in shown
    assert "(1) The floor" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["figures"], "databases were left behind"


@pytest.mark.long
def test_postgres_is_measured_in_schemas_that_are_gone_afterwards(
    tmp_path: Path,
    postgres_url: str,
    postgres_cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(__main__, "OUTPUT", tmp_path / "output")
    measure, measured = runner._in_process, dict[str, Figures]()

    def once(workload: str, size: int, slots: int, place: Place) -> Figures:
        """The floor before, and not that after: each is a process."""
        if workload not in measured:
            measured[workload] = measure(workload, size, slots, place)
        return measured[workload]

    monkeypatch.setattr(runner, "_in_process", once)
    code, found = bench(tmp_path, "--size", "10", "--only", "fanout-1k", url=postgres_url)

    assert code == 0, found["benchmarks"]
    assert [(b["store"], b["name"]) for b in found["benchmarks"]] == [(POSTGRES, "fanout-1k")]
    assert found["machine"]["postgres"]["settings"]["fsync"] == "on"
    shown = capsys.readouterr().out
    assert "shared_buffers=" in shown
    assert "PostgreSQL\n==========\n\nfan-out: 10 async children" in shown
    schemas = "select nspname from pg_namespace where starts_with(nspname, 'bench')"
    assert postgres_cluster.fetch(schemas, database=postgres_url.rpartition("/")[2]) == []
    assert list((tmp_path / "output").iterdir()) == []


def test_each_store_has_its_benchmarks_figures_and_targets() -> None:
    found = catalogue.chosen(["sequential", "cold"], [SQLITE, POSTGRES])

    assert [(b.store, b.name) for b in found] == [(SQLITE, "sequential"), (SQLITE, "cold"), (POSTGRES, "sequential")]
    keys = {b.store: {figure.key for figure in b.figures} for b in found if b.name == "sequential"}
    assert keys == {SQLITE: {"p50", "p99", "fsync"}, POSTGRES: {"p50", "p99", "commit"}}
    met = {b.store: report.met(Result(b, 1, [{"p50": 1.2}]), b.figures[0]) for b in found if b.name == "sequential"}
    assert met == {SQLITE: False, POSTGRES: True}


def test_both_stores_are_measured_where_there_is_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.stores_for([], None) == ([SQLITE, POSTGRES], "")

    def find() -> None:
        raise MissingBinariesError("There is none.")

    monkeypatch.setattr(places, "find", find)
    assert places.stores_for([], None) == ([SQLITE], "PostgreSQL is left out. There is none.")
    assert places.stores_for(["postgres", "sqlite"], None) == ([SQLITE, POSTGRES], "")
    assert places.stores_for([], "postgres://me@127.0.0.1/bench") == ([POSTGRES], "")


def test_only_takes_the_beginnings_of_names() -> None:
    found = catalogue.chosen(["recursion", "cold"], [SQLITE])

    assert [b.name for b in found] == ["recursion", "recursion-wide", "recursion-sync", "recursion-mixed", "cold"]


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "fanuot"], "no benchmark's name begins with 'fanuot'; there are: fanout-1k, "),
        (["--store", "postgres", "--only", "cold"], "no benchmark's name begins with 'cold'; there are: fanout-1k, "),
        (["--store", "mysql"], "--store must be of sqlite, postgres, and is 'mysql'"),
        (["--store", "postgres", "--url", "sqlite:///x.db"], "--store postgres does not go with a --url of sqlite"),
        (
            ["--url", "mysql://x/y"],
            "--url must be sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql:",
        ),
        (["--url", "postgresql://me:secret@127.0.0.1:1/x"], "postgresql://me:***@127.0.0.1:1/x can't be measured: "),
        (["--url", "sqlite:////nowhere/at/all.db"], "--url: there is no folder /nowhere/at"),
        (["--repeat", "0"], "must be at least 1, and is 0"),
    ],
)
def test_a_mistake_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(__main__, "OUTPUT", tmp_path / "output")
    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
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
    figure = Figure("ms", "import", "ms", {SQLITE: at_most(bound)})
    changed = catalogue.Benchmark("import", "import", "import", (figure,), import_.size, import_.quick)
    monkeypatch.setattr(catalogue, "BENCHMARKS", (changed,))
    monkeypatch.setattr(startup, "import_ms", lambda _: 100.0)

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


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "durable"), [({}, True), ({"fsync": "off"}, False), ({"synchronous_commit": "off"}, False)]
)
def test_a_server_that_may_lose_what_it_confirmed_is_named(changed: dict[str, str], durable: bool) -> None:
    server = Server("15", {"fsync": "on", "synchronous_commit": "on", **changed}, 0.05)
    machine = Machine(2, "x", "x", "x", "x", "x", 0.0, 0.2, server)

    assert server.durable is durable
    shown = report.table(report.Report(machine, [], 1, quick=False, when=""))
    assert ("WARNING: this server may lose what it has confirmed" in shown) is not durable


# --- the floor -------------------------------------------------------------------------------------------------------

ROWS = [1, 1000, 1001]


@pytest.mark.parametrize("shape", [floor_sqlite.DURABLE, floor_sqlite.BARE], ids=lambda shape: shape.name)
@pytest.mark.parametrize("rows", ROWS)
def test_the_floor_completes_every_row(tmp_path: Path, shape: floor_sqlite.Shape, rows: int) -> None:
    assert floor_sqlite.seconds_for(shape, tmp_path / "floor.db", rows) > 0


@pytest.mark.long
def test_the_floor_of_postgres_completes_every_row(postgres_url: str) -> None:
    for shape in (floor_postgres.DURABLE, floor_postgres.BARE):
        for rows in ROWS:
            assert floor_postgres.seconds_for(shape, postgres_url, f"{shape.name} {rows}", rows) > 0
