"""A tree that grows, as `--watch` and the demo show it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fanwood.cli import output
from fanwood.cli.progress import Crew, Progress, Rates, Sight, task_lines, time_left
from fanwood.model.records import TaskCount
from fanwood.model.states import RunState

COUNTS = [
    TaskCount("leaf", RunState.COMPLETED, 5, 2, 9),
    TaskCount("leaf", RunState.WAITING, 2, 2, None),
    TaskCount("leaf", RunState.RUNNING, 1, 2, None),
    TaskCount("shop", RunState.QUEUED, 1, 1, None),
]


def steady(task: str) -> float:
    return 5.0 if task == "leaf" else 0.0


def screen(progress: Progress, sight: Sight, columns: int = 80) -> list[str]:
    """What a terminal of so many columns shows."""
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system=None)
    console.print(progress.picture(sight))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_what_waits_is_neither_running_nor_queued():
    shop, leaf = task_lines(COUNTS, steady)
    assert (shop.task, shop.running, shop.queued, shop.waiting) == ("shop", 0, 1, 0)
    assert (leaf.done, leaf.running, leaf.queued, leaf.waiting, leaf.failed) == (5, 1, 0, 2, 0)


def test_in_a_pipe(capsys):
    with Progress() as progress:
        progress.show(Sight(task_lines(COUNTS, steady), 10.0))
    assert capsys.readouterr().err == (
        "10 s: shop 0 done, 0 running, 1 queued, 0 failed, 0/s; "
        "leaf 5 done, 1 running, 0 queued, 2 waiting, 0 failed, 5/s\n"
    )


@pytest.mark.parametrize("columns", [30, 40, 60])
def test_on_a_small_terminal_the_bar_is_shorter(columns: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "marks", lambda: output.marks_for("utf-8"))
    monkeypatch.setattr(output, "width", lambda: columns)
    first, *_ = screen(Progress(), Sight(task_lines(COUNTS, steady), 1.0), columns)
    assert first.endswith("55 %  5 of 9")
    assert len(first) <= columns


@pytest.mark.parametrize("columns", [80, 140])
def test_on_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "marks", lambda: output.marks_for("utf-8"))
    sight = Sight(task_lines(COUNTS, steady), 1.0, Crew(2, 8, 3), (1.0, 2.0))
    lines = screen(Progress(), sight, columns)
    assert lines[0] == f"    1.0 s  {'━' * 13}{'─' * 11}   55 %  5 of 9  2s to 4s left"
    assert lines[1].split() == ["done", "running", "queued", "waiting", "failed", "rate"]
    assert lines[2].split() == ["shop", "0", "0", "1", "0", "0", "0/s"]
    assert lines[3].split() == ["leaf", "5", "1", "0", "2", "0", "5/s"]
    assert lines[4] == "2 workers, 8 slots, 3 runs begun"
    assert max(map(len, lines)) <= columns


def test_nobody_serves_a_task():
    sight = Sight(task_lines(COUNTS, steady), 1.0, Crew(2, 8, 3, ("count_page",)))
    assert screen(Progress(), sight)[-1] == "no worker serves count_page"


def test_the_column_of_what_waits_comes_and_stays():
    progress = Progress()
    shown = [screen(progress, Sight(task_lines(counts, steady), 1.0))[1] for counts in (COUNTS[:1], COUNTS, COUNTS[:1])]
    assert ["waiting" in line for line in shown] == [False, True, True]


def test_rates_are_those_of_some_seconds():
    rates = Rates()
    for second in range(1, 21):
        rates.note(float(second), {"leaf": 10 * second})
        assert rates.of("leaf") == pytest.approx(10.0)
    for tenth in range(1, 6):  # nothing ends for half a second: the rate hardly moves
        rates.note(20 + tenth / 10, {"leaf": 200})
    assert 8.5 < rates.of("leaf") < 10.0
    assert rates.of("shop") == 0.0
    low, high = rates.range()
    assert low <= high == pytest.approx(200 / 20.5)


@pytest.mark.parametrize(
    ("left", "rates", "said"),
    [(0, (1.0, 1.0), ""), (5, (0.0, 2.0), ""), (10, (2.0, 5.0), "2s to 5s left"), (10, (5.0, 5.0), "2s left")],
)
def test_how_long_it_takes(left: int, rates: tuple[float, float], said: str):
    assert time_left(left, rates) == said


def test_notes_appear_above_the_picture(capsys):
    console = Console(file=io.StringIO(), width=80)
    output.notes_go_to(console)
    output.note("no worker \x1b[31mserves [bold]it")
    output.notes_go_to(None)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "no worker serves [bold]it\n"
    output.note("after")
    assert capsys.readouterr().err == "after\n"
