"""What is under way, as `fanwood top` shows it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from fanwood.cli import output
from fanwood.cli.engines import Engine
from fanwood.cli.top import Root, Seen, View, picture
from fanwood.model.records import RunRecord, TaskCount, WorkerRecord
from fanwood.model.states import RunState
from tests.cli.conftest import Stocked

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


def root(n: int, *, done: int = 30, queued: int = 60, task: str = "site") -> Root:
    id_ = n.to_bytes(16, "big")
    about: dict[str, Any] = dict.fromkeys(RunRecord.__struct_fields__)
    about |= {"id": id_, "root_id": id_, "depth": 0, "task": task, "state": RunState.RUNNING}
    run = RunRecord(**{**about, "created_at": NOW - 10 * SECOND})
    counts = [
        TaskCount(task, RunState.RUNNING, 1, 1, None),
        TaskCount("page", RunState.COMPLETED, done, 2, 9),
        TaskCount("page", RunState.FAILED, 9, 2, 9),
        TaskCount("page", RunState.QUEUED, queued, 2, None),
    ]
    return Root(run, counts)


def engine(n: int, *, live: bool = True) -> Engine:
    record = WorkerRecord(n, f"worker-{n}", "here", 100 + n, 4, NOW - 90 * SECOND, 10 * SECOND, NOW + 9 * SECOND, 3)
    return Engine(record, live, "renewed 1.0 s ago" if live else "its process is gone")


def view(roots: int = 1, engines: int = 1, unserved: tuple[str, ...] = ()) -> View:
    return View(NOW, [root(n) for n in range(roots)], False, [engine(n) for n in range(engines)], list(unserved))


def screen(view: View, columns: int, rows: int = 24, encoding: str = "utf-8") -> list[str]:
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    console.print(picture(view, columns, rows, output.marks_for(encoding)))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_at_80_columns():
    lines = screen(Seen().add(0.0, view()), 80)
    assert lines[0].endswith("1 worker, 4 slots, 3 runs begun, 60 queued")
    assert lines[2].split() == ["root", "age", "ended", "failed", "left"]
    assert lines[3] == "▶ 00000000  site      10s  ━━━─────  39 %     39       9   15s"
    assert lines[5].split() == ["done", "running", "queued", "failed", "rate"]
    assert [line.split() for line in lines[6:8]] == [
        ["page", "30", "0", "60", "9", "4/s"],
        ["site", "0", "1", "0", "0", "0/s"],
    ]
    assert lines[10].split() == ["worker-0", "100", "4", "3", "90s", "renewed", "1.0", "s", "ago"]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (140, 40), (80, 12)])
def test_it_fits_however_much_there_is(columns: int, rows: int):
    many = Seen().add(0.0, view(20, 30, ("page",)))
    lines = screen(many, columns, rows)
    assert max(map(len, lines)) <= columns
    assert len(lines) < max(rows, 20)
    assert "no worker serves page" in lines
    assert any(line.startswith("and ") and line.endswith(" workers") for line in lines)


def test_a_terminal_without_signs_gets_ascii():
    assert all(line.isascii() for line in screen(Seen().add(0.0, view()), 140, 40, "ascii"))
    assert "> 00000000  site" in screen(Seen().add(0.0, view()), 80, 24, "ascii")[3]


def test_rates_are_those_of_late():
    """Of several trees together; one that ends takes nothing from the others."""
    seen = Seen()
    before, one, other = view(), root(0, done=50), root(1, done=10)
    seen.add(100.0, before)
    lately = seen.add(102.0, View(NOW, [one, other], False, [], []))
    assert {line.task: line.rate for line in lately.lines} == {"site": 0.0, "page": 10.0 + 1.9}
    assert lately.roots[0].range == (5.9, 10.0)
    assert seen.add(104.0, View(NOW, [other], False, [], [])).lines[1].rate == 0.0


def test_a_look_for_programs(stocked: Stocked, invoke):
    stock = stocked(10, 2, live=True)
    told = json.loads(invoke("top", "--json").stdout)
    assert [(r["id"], r["task"], r["status"]) for r in told["roots"]] == [
        (stock.root, "shop", "RUNNING"),
        (stock.queued[1], "order", "QUEUED"),
        (stock.queued[0], "order", "QUEUED"),
    ]
    assert told["roots"][0]["runs"]["leaf"]["COMPLETED"] == 6
    assert (told["more"], told["unserved"]) == (False, ["leaf", "order"])  # the worker serves nothing
    assert [(w["name"], w["slots"], w["live"]) for w in told["workers"]] == [("far", 9, True)]
    plain = invoke("top")
    assert plain.stdout.splitlines()[0] == "ROOT\tTASK\tSTATE\tENDED\tRUNS\tFAILED"
    assert plain.stdout.splitlines()[1] == f"{stock.root}\tshop\tRUNNING\t7\t11\t1"
    assert plain.stderr.startswith("worker far: process 1, 9 slots, ")


def test_nothing_is_under_way_and_nobody_serves_it(stocked: Stocked, invoke):
    stocked(0, 1)
    told = json.loads(invoke("top", "--json").stdout)
    assert told["unserved"] == ["order"]
    assert not told["workers"][0]["live"]
    assert "Nothing is under way." in screen(View(NOW, [], False, [], []), 80)
