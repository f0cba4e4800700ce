"""A tree that grows, as `--watch` and the demo show it."""

from __future__ import annotations

from fanwood.cli.progress import Progress, task_lines
from fanwood.model.records import TaskCount
from fanwood.model.states import RunState

COUNTS = [
    TaskCount("leaf", RunState.COMPLETED, 5, 2, 9),
    TaskCount("leaf", RunState.WAITING, 2, 2, None),
    TaskCount("leaf", RunState.RUNNING, 1, 2, None),
    TaskCount("shop", RunState.QUEUED, 1, 1, None),
]


def test_what_waits_is_not_in_flight():
    shop, leaf = task_lines(COUNTS, {}, 1.0)
    assert (shop.task, shop.in_flight, shop.waiting) == ("shop", 1, 0)
    assert (leaf.done, leaf.in_flight, leaf.waiting, leaf.failed) == (5, 1, 2, 0)


def test_in_a_pipe(capsys):
    with Progress() as progress:
        progress.show(task_lines(COUNTS, {}, 1.0), 10.0)
    assert capsys.readouterr().err == (
        "10 s: shop 0 done, 1 in flight, 0 failed, 0/s; leaf 5 done, 1 in flight, 2 waiting, 0 failed, 5/s\n"
    )


def test_the_column_of_what_waits_comes_and_stays():
    progress = Progress()
    shown = [progress.table(task_lines(counts, {}, 1.0), 1.0) for counts in (COUNTS[:1], COUNTS, COUNTS[:1])]
    headers = [[column.header for column in table.columns] for table in shown]
    assert headers[0] == ["1.0 s", "done", "in flight", "failed", "rate"]
    assert headers[1] == headers[2] == ["1.0 s", "done", "in flight", "waiting", "failed", "rate"]
