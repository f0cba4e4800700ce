"""
What processes are at when they are killed. A scenario is a program that may be run again from its beginning: it asserts
its answers itself, and whatever was done of it before stays done, since its roots have keys.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from fanwood import Budget, RunNotFoundError, RunState, TaskRunError
from tests.crashes import outside, upkeep
from tests.crashes.ground import SCENARIOS, Ground, Scenario, answers, asked, failing, scenario, swept, until_begun
from tests.crashes.tasks import PATIENCE

__all__ = ["SCENARIOS", "Ground", "Scenario", "outside", "resume", "upkeep"]


@scenario()
def spawn(ground: Ground) -> None:
    answers(ground, "bulk", 0, n=1)
    with ground.app() as app:  # a root without a key: there once, or not at all, unless its id was told
        ref = app.find("leaf").run_no_wait({"n": 7})
        ground.note("told", ref.id)
        assert ref.result(PATIENCE)[0] == 49

        @app.task
        async def another(input: dict) -> int:
            return input["n"]

        assert another.run({"n": 8}, timeout=PATIENCE) == 8


@scenario()
def bulk(ground: Ground) -> None:
    answers(ground, "bulk", 285, n=10)


@scenario()
def wait(ground: Ground) -> None:
    answers(ground, "chain", 10, n=3)
    answers(ground, "sync_chain", 5, n=3)


@scenario()
def retry(ground: Ground) -> None:
    answers(ground, "several", [0, 1, "failed"], of="flaky")


@scenario()
def backoff(ground: Ground) -> None:
    answers(ground, "several", [0, 1, 4], of="patient")


@scenario()
def cancel(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "nest")
        until_begun(ref)
        app.runs.cancel(ref.id)
        ground.note("cancelled", ref.id)
        assert ref.status() is RunState.CANCELLED


@scenario()
def cancel_from_inside(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "fails", itself=True)
        with failing():
            ref.result(PATIENCE)
        assert ref.status() is RunState.CANCELLED


@scenario()
def give_up(ground: Ground) -> None:
    answers(ground, "impatient", "went on")


@scenario()
def recursion(ground: Ground) -> None:
    answers(ground, "tree", 15, depth=3)


@scenario()
def workflow(ground: Ground) -> None:
    answers(ground, "flow", {"first": 4, "second": 5, "third": 6, "fourth": 30})


@scenario(again=frozenset({"bulk", "fails", "leaf"}))
def replay(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "bulk", n=4)
        assert ref.result(PATIENCE) == 14
        assert app.runs.replay(ref.id) in {True, False}
        assert ref.result(PATIENCE) == 14
        failed = asked(app, ground, "fails")
        for _ in range(2):
            with failing():
                failed.result(PATIENCE)
            app.runs.replay(failed.id)
        with failing():
            failed.result(PATIENCE)


@scenario()
def idempotent_root(ground: Ground) -> None:
    with ground.app() as app:
        leaf = app.find("leaf")
        items = [leaf.create_bulk_run_item({"n": n}, idempotency_key=f"k{n}") for n in range(5)]
        first, second = leaf.run_many_no_wait(items), leaf.run_many_no_wait(items[::-1])
        assert [ref.id for ref in first] == [ref.id for ref in second[::-1]]
        for ref in first:
            ground.note("told", ref.id)
        assert [ref.result(PATIENCE)[0] for ref in first] == [n * n for n in range(5)]


@scenario()
def closing(ground: Ground) -> None:
    """A parent that fails while what is below it lives."""
    with ground.app() as app:
        ref = asked(app, ground, "fails")
        with failing():
            ref.result(PATIENCE)
        assert ref.status() is RunState.FAILED


@scenario()
def timeouts(ground: Ground) -> None:
    with ground.app(local_worker=False) as client:
        client.engine()
        refs = [asked(client, ground, "late", key=f"{n}", n=n) for n in range(3)]
        with ground.app() as app:
            slow = asked(app, ground, "slow")
            for ref in [slow, *refs]:
                with contextlib.suppress(TaskRunError):
                    ref.result(PATIENCE)
            assert slow.status() is RunState.FAILED


@scenario()
def budget(ground: Ground) -> None:
    """What a durable run spends it has spent once; parts have returned, and nothing is held."""
    with ground.app() as app:
        ref = asked(app, ground, "thrifty", budget=Budget(units={"usd": 100}))
        assert ref.result(PATIENCE) == [0, 1]
        info = app.runs.get(ref.id)
        assert info.spent == {"usd": 2}
        (limit,) = info.budget
        assert limit.held == 0
        assert 2 + 2 * 2 <= limit.used <= 2 + 4 * 2  # what was burnt by an attempt that was killed is burnt


@scenario()
def share(ground: Ground) -> None:
    answers(ground, "sharing", 75)
    with ground.app() as app:
        (shared,) = [run for run in app.runs.children(asked(app, ground, "sharing").id) if run.task_name == "leaf"]
        assert shared.status is RunState.COMPLETED


@scenario()
def hedge(ground: Ground) -> None:
    answers(ground, "hedging", 7)


@scenario(again=frozenset({"rounds", "leaf", "endless"}))
def start_over(ground: Ground) -> None:
    """Three lives, each of which leaves something that does not end by itself; and once more by hand."""
    with ground.app() as app:
        ref = asked(app, ground, "rounds", n=1)
        assert ref.result(PATIENCE) == 3
        assert app.runs.get(ref.id).started_over == 2
        app.runs.replay(ref.id)
        assert ref.result(PATIENCE) == 3
        assert app.runs.get(ref.id).started_over == 2


for _name in ("bulk", "wait", "backoff", "cancel", "recursion", "workflow", "idempotent_root"):
    SCENARIOS[f"{_name}_beside"] = replace(SCENARIOS[_name], name=f"{_name}_beside", beside=True)


def resume(ground: Ground, scene: Scenario) -> None:
    """By the next process, after `act`: all that is there ends."""
    with ground.app(ground.other if scene.copies else "") as app:
        app.engine()
        asked(app, ground, "leaf", key="last", n=1).result(PATIENCE)
        while unfinished := [run for run in app.runs.list(all_runs=True, limit=1000) if not run.status.is_terminal]:
            for run in unfinished:
                with contextlib.suppress(TaskRunError, RunNotFoundError):
                    app.runs.get_run_ref(run.id).result(PATIENCE)
        swept(app)
