"""Scenarios of what comes from outside, and of what a run records of its own: surgery, sleeps, events, promises,
messages, what is published."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any

from fanwood import Fanwood, RunEndedError, RunState, TaskRunError
from fanwood.engine import spreading
from fanwood.sdk.client.bulk import BulkVerb
from tests.crashes.ground import Ground, answers, asked, scenario, waiting
from tests.crashes.tasks import PATIENCE, ended_soon


@scenario()
def surgery(ground: Ground) -> None:
    """A tree is paused and goes on, a fork is made of it, and a run that does not end by itself gets its result by
    hand."""
    with ground.app() as app:
        ref = asked(app, ground, "tree", depth=2)
        app.runs.pause(ref.id, by="ann")
        app.runs.reprioritize(ref.id, 3, by="ann")
        app.runs.resume(ref.id)
        assert ref.result(PATIENCE) == 7
        assert app.runs.fork(ref.id, by="ann").result(PATIENCE) == 7
        ref = asked(app, ground, "endless")
        app.runs.patch(ref.id, output=None, by="ann")
        assert ref.status() is RunState.COMPLETED


@scenario(again=frozenset({"several"}))
def surgery_of_many(ground: Ground) -> None:
    """The same of all that a filter lets through. Whoever is next goes on with what was begun, and does nothing to any
    of them twice."""
    with ground.app() as app:
        runs = app.runs
        trees = [asked(app, ground, "tree", key=f"{n}", depth=1) for n in range(3)]
        for action in ("pause", "reprioritize", "resume"):
            _all_of(app, action, trees, priority=3 if action == "reprioritize" else None)
        assert [ref.result(PATIENCE) for ref in trees] == [3] * 3
        _all_of(app, "fork", trees)
        failed = [asked(app, ground, "mended", key=f"{n}", n=n) for n in range(3)]
        over = [asked(app, ground, "several", key=f"{n}", of="mended") for n in range(2)]
        for ref in (*failed, *over):
            with contextlib.suppress(TaskRunError):
                ref.result(PATIENCE)
        _all_of(app, "retry", failed)
        assert [ref.result(PATIENCE) for ref in failed] == [0, 1, 2]
        _all_of(app, "retry_failures", over)
        assert [ref.result(PATIENCE) for ref in over] == [[0, 1, 2]] * 2
        endless = [asked(app, ground, "endless", key=f"{n}") for n in range(3)]
        _all_of(app, "cancel", endless)
        assert {ref.status() for ref in endless} == {RunState.CANCELLED}
        while any(not run.status.is_terminal for run in runs.list(limit=1000)):  # what somebody else had begun, as well
            ended_soon.wait(0.02)
        assert len({len(runs.forks(ref.id)) for ref in trees}) == 1
    for thread in threading.enumerate():
        if thread.name == "fanwood: an action is over":  # and its engine about to be closed
            thread.join(PATIENCE)


def _all_of(app: Fanwood, action: BulkVerb, refs: list[Any], priority: int | None = None) -> None:
    app.runs.bulk(action, ids=[ref.id for ref in refs], priority=priority, by="ann").result(PATIENCE)


@scenario()
def sleep(ground: Ground) -> None:
    """Steps that are recorded, and a sleep that is ended by a call."""
    with ground.app() as app:
        ref = asked(app, ground, "dreamer")
        while not ref.status().is_terminal:
            for child in app.runs.children(ref.id):
                if child.task_name == "~sleep" and child.status is RunState.WAITING:
                    app.runs.wake(child.id)
            ended_soon.wait(0.02)
        assert ref.result(PATIENCE) == ["first", "second"]


@scenario()
def suspend(ground: Ground) -> None:
    """A parent is unloaded while it waits for children, a group and a stream."""
    answers(ground, "suspends", [1, 2, 3, 4, 5])


@scenario()
def event(ground: Ground) -> None:
    with ground.app() as app:
        ref = asked(app, ground, "waits_for_event")
        waiting(app, ref)
        app.events.push("paid", {"n": 7}, id="payment")
        assert ref.result(PATIENCE) == 7


@scenario()
def event_if(ground: Ground) -> None:
    """Whether it is the one is said by an expression, which no database reads."""
    with ground.app() as app:
        ref = asked(app, ground, "waits_for_some")
        while ref.status() in (RunState.QUEUED, RunState.RUNNING):
            ended_soon.wait(0.01)
        app.events.push("paid", {"n": 3}, id="too small")
        app.events.push("paid", {"n": 7}, id="large enough")
        assert ref.result(PATIENCE) == 7


def _look_soon() -> None:
    spreading.LOOK_EVERY = 0.02


@scenario(prepared=_look_soon)
def old_events(ground: Ground) -> None:
    """A worker deletes them."""
    with ground.app(event_retention=0.05) as app:
        for n in range(3):
            app.events.push("paid", {"n": n}, id=f"payment {n}")
        asked(app, ground, "leaf", n=1).result(PATIENCE)
        while app.events.list("paid"):
            ended_soon.wait(0.02)


@scenario()
def promise(ground: Ground) -> None:
    """It is settled by whoever has its token; which is the same in each attempt."""
    with ground.app() as app:
        ref = asked(app, ground, "waits_for_promise")
        tokens: set[str] = set()
        while not tokens:
            lines = [json.loads(line) for line in (ground.folder / "journal").read_text().splitlines()]
            tokens = {about[0] for event, run, *about in lines if event == "token" and run == ref.id}
            ended_soon.wait(0.01)
        (token,) = tokens
        app.promises.resolve(token, 5)
        assert ref.result(PATIENCE) == 5


@scenario()
def message(ground: Ground) -> None:
    """Each is received once; whoever does not know whether he has sent one sends it again, and that is another one."""
    with ground.app() as app:
        ref = asked(app, ground, "receives")
        waiting(app, ref)
        with contextlib.suppress(RunEndedError):
            for n in (1, 2):
                app.runs.send(ref.id, "number", n)
        assert ref.result(PATIENCE) == [1, 2]
