"""Runs of durable tasks go on with the version of the code that began them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import BaseModel

from fanwood import Context, DeclarationError, EvictionPolicy, Fanwood, RunState, SettingsError, UsageError
from fanwood.errors import StoreValueError, TaskRunError
from fanwood.ids import id_bytes
from fanwood.model.commands import Batch
from fanwood.sdk.tasks.rehearsing import rehearse
from fanwood.store.why import WhyCause
from fanwood.worker import elsewhere
from tests.semantics.test_durable import until
from tests.semantics.test_sameness import _runs as runs_of
from tests.serving import serving

AT_ONCE = EvictionPolicy(ttl=0)
COLOURS = ["async", "sync"]


def code(name: str, colour: str, seen: list[tuple[str, str | None]] | None = None) -> Any:
    """A version of the task: it says its name, before and after it waited; `fails`: its first attempt does after that,
    `again`: it starts over."""
    said = seen if seen is not None else []

    if colour == "async":

        async def older(input: dict, ctx: Context) -> list[Any]:
            begun = await ctx.aio_step(str, name, key="begun")
            said.append((name, ctx.version))
            await ctx.aio_wait_for_event("on", scope=input["who"], lookback_window="1h")
            if input.get("fails") and ctx.retry_count == 0:
                raise ValueError(name)
            if input.get("again"):
                ctx.start_over({"who": "last"})
            return [begun, name, ctx.version]

        return older

    def sync_older(input: dict, ctx: Context) -> list[Any]:
        begun = ctx.step(str, name, key="begun")
        said.append((name, ctx.version))
        ctx.wait_for_event("on", scope=input["who"], lookback_window="1h")
        if input.get("fails") and ctx.retry_count == 0:
            raise ValueError(name)
        if input.get("again"):
            ctx.start_over({"who": "last"})
        return [begun, name, ctx.version]

    return sync_older


def declared(make_app: Any, function: Any, **options: Any) -> tuple[Fanwood, Any]:
    app = make_app(local_worker=False)
    return app, app.durable_task(name="deliver", eviction_policy=AT_ONCE, strict=True, **options)(function)


def begin(app: Fanwood, task: Any, who: str = "a", **more: Any) -> str:
    """A run that waits in the middle of its code."""
    ref = task.run_no_wait({"who": who, **more})
    with serving(app.worker("old")):
        until(app, ref.id, RunState.WAITING)
    return str(ref.id)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("named", ["1", None])
def test_a_run_goes_on_with_the_code_that_began_it(make_app: Any, colour: str, named: str | None) -> None:
    """Also one that began before there were versions; what begins now has the present code."""
    first, second = code("first", colour), code("second", colour)
    run_id = begin(*declared(make_app, first, version=named))
    app, task = declared(make_app, second, version="2", versions={named: first})
    (run,) = [each for each in runs_of(app, task) if each.id == id_bytes(run_id)]
    assert rehearse(app, task.spec, run).text is None
    new = task.run_no_wait({"who": "a"})
    with serving(app.worker("new")):
        app.events.push("on", scope="a")
        assert app.runs.get_run_ref(run_id).result(60) == ["first", "first", named]
        assert new.result(60) == ["second", "second", "2"]


@pytest.mark.parametrize("colour", COLOURS)
def test_retries_replays_and_forks_stay_with_it_and_another_life_does_not(make_app: Any, colour: str) -> None:
    first, second = code("first", colour), code("second", colour)
    old, task = declared(make_app, first, version="1", retries=1)
    old.events.push("on", scope="last")
    retried, over = begin(old, task, "a", fails=True), begin(old, task, "b", again=True)
    app, task = declared(make_app, second, version="2", versions={"1": first}, retries=1)
    with serving(app.worker("new")):
        for who in "ab":
            app.events.push("on", scope=who)
        assert app.runs.get_run_ref(retried).result(60) == ["first", "first", "1"]
        assert app.runs.get_run_ref(over).result(60) == ["second", "second", "2"]
        app.runs.replay(retried)
        assert app.runs.get_run_ref(retried).result(60) == ["first", "first", "1"]
        assert app.runs.fork(retried).result(60) == ["first", "first", "1"]
        anew = app.runs.fork(retried, input={"who": "a"})
        assert anew.result(60) == ["first", "first", "1"]


@pytest.mark.parametrize("colour", COLOURS)
def test_no_code_begins_before_its_version_is_kept(make_app: Any, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it spawned would be kept without: no attempt after that would know which code goes on."""
    seen: list[tuple[str, str | None]] = []
    app, task = declared(make_app, code("first", colour, seen), version="1")
    store = app.engine().store
    commit = store.commit

    async def refusing(worker: int, batch: Batch) -> Any:
        if any('"step":"version"' in record.input for record in batch.records):
            raise StoreValueError("it can't be held")
        return await commit(worker, batch)

    with serving(app.worker("only")):
        with monkeypatch.context() as patches:
            patches.setattr(store, "commit", refusing)
            with pytest.raises(TaskRunError, match="it can't be held"):
                task.run({"who": "a"})
        assert seen == []
        app.events.push("on", scope="a")
        assert task.run({"who": "a"}) == ["first", "first", "1"]


@pytest.mark.parametrize("colour", COLOURS)
def test_what_a_worker_has_no_code_for_waits_for_one_that_has_it(
    make_app: Any, colour: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And both say so. Nothing of it is executed, or charged; a restart of the worker changes nothing."""
    monkeypatch.setattr(elsewhere, "FIRST", 40.0)
    seen: list[tuple[str, str | None]] = []
    first, second = code("first", colour), code("second", colour, seen)
    run_id = begin(*declared(make_app, first, version="1"))
    app, task = declared(make_app, second, version="3", versions={"2": second})
    app.events.push("on", scope="a")
    with serving(app.worker("new")):
        until_put_off(app, run_id)
        assert task.run({"who": "a"}) == ["second", "second", "3"]
    why = app.runs.why(run_id)
    assert why.cause is WhyCause.OTHER_CODE
    said = "it began with version '1', and its worker has version '3' and version '2' of deliver only"
    assert said in why.text
    assert "a run of deliver began with version '1', which this worker does not have" in caplog.text
    report = app.engine().call(lambda store: store.report()).result(60)
    assert [each for each in report.problems if said in each and each.startswith("1 run of deliver, ")]
    assert {name for name, _ in seen} == {"second"}  # (of the other run)
    run = app.runs.get(run_id)
    assert (run.status, run.retry_count) == (RunState.WAITING, 0)
    (recorded,) = [each for each in runs_of(app, task) if each.id == id_bytes(run_id)]
    assert "began with version '1': it would wait" in str(rehearse(app, task.spec, recorded).text)
    app, _ = declared(make_app, second, version="3", versions={"1": first})
    app.runs.cancel(run_id)
    assert app.runs.get(run_id).status is RunState.CANCELLED


def until_put_off(app: Fanwood, run_id: str) -> None:
    until_no_worker = time.monotonic() + 60
    while app.runs.why(run_id).cause is not WhyCause.OTHER_CODE:
        assert time.monotonic() < until_no_worker
        time.sleep(0.002)


def test_two_workers_with_different_versions_each_take_theirs(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """During an upgrade: neither executes what the other began."""
    monkeypatch.setattr(elsewhere, "FIRST", 0.01)
    monkeypatch.setattr(elsewhere, "LONGEST", 0.05)
    first, second = code("first", "async"), code("second", "async")
    old, old_task = declared(make_app, first, version="1", versions={})
    new, new_task = declared(make_app, second, version="2", versions={})
    ids = [begin(old, old_task, str(n)) for n in range(3)] + [begin(new, new_task, str(n)) for n in range(3, 6)]
    with serving(old.worker("old")), serving(new.worker("new")):
        for n in range(6):
            new.events.push("on", scope=str(n))
        results = [new.runs.get_run_ref(id_).result(60) for id_ in ids]
    assert results == [["first", "first", "1"]] * 3 + [["second", "second", "2"]] * 3


class Old(BaseModel):
    van: int


class New(BaseModel):
    bike: int


def test_each_version_has_an_input_and_an_output_of_its_own(make_app: Any) -> None:
    """And a signature; and `ctx.version_at` is its own, too."""
    app = make_app(local_worker=False)

    async def old(input: Old, ctx: Context) -> set[int]:
        await ctx.aio_wait_for_event("on", lookback_window="1h")
        assert await ctx.aio_version_at("here") == "1"
        return {input.van}

    async def new(input: New) -> int:
        return input.bike

    def served(function: Any, **options: Any) -> tuple[Any, Any]:
        app = make_app(local_worker=False)
        return app, app.durable_task(name="deliver", eviction_policy=AT_ONCE, **options)(function)

    app, task = served(old, version="1")
    ref = task.run_no_wait({"van": 7})
    with serving(app.worker("old")):
        until(app, ref.id, RunState.WAITING)
    app, task = served(new, version="2", versions={"1": old})
    with serving(app.worker("new")):
        app.events.push("on")
        assert task.run({"bike": 3}) == 3
        assert app.runs.get_run_ref(ref.id).result(60) == [7]


def test_none_for_a_function_is_the_present_one(make_app: Any) -> None:
    first, second = code("first", "async"), code("second", "async")
    run_id = begin(*declared(make_app, first, version="1"))
    app, _ = declared(make_app, second, version="2", versions={"1": None})
    with serving(app.worker("new")):
        app.events.push("on", scope="a")
        assert app.runs.get_run_ref(run_id).result(60) == ["first", "second", "1"]


def nothing() -> None: ...
async def aio_nothing() -> None: ...
def three(a: int, b: int, c: int) -> None: ...


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"versions": {"1": nothing}}, SettingsError, "without version="),
        ({"version": "1", "versions": {"1": nothing}}, SettingsError, "leave it out there"),
        ({"version": "2", "versions": ["1"]}, SettingsError, "must be a dict"),
        ({"version": "2", "versions": {1: nothing}}, SettingsError, "must be text"),
        ({"version": "2", "versions": {"a\0": nothing}}, SettingsError, "can be stored"),
        ({"version": "2", "versions": {"1" * 1000: nothing}}, SettingsError, "characters"),
        ({"version": "2", "versions": {"1": 7}}, SettingsError, "must be a function"),
        ({"version": "2", "versions": {"1": aio_nothing}}, DeclarationError, "is async, and deliver is sync"),
        ({"version": "2", "versions": {"1": three}}, DeclarationError, "must take"),
    ],
)
def test_what_can_be_no_version(app: Fanwood, options: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        app.durable_task(name="deliver", **options)(nothing)


def test_a_task_is_no_version(app: Fanwood) -> None:
    older = app.durable_task(nothing)
    with pytest.raises(SettingsError, match=r"no task \(of a task it is `.fn`\)"):
        app.durable_task(name="deliver", version="2", versions={"1": older})(nothing)
    app.durable_task(name="deliver", version="2", versions={"1": older.fn})(nothing)


def test_mock_runs_of_a_version(app: Fanwood) -> None:
    def old(input: dict, ctx: Context) -> str | None:
        return f"old {ctx.version}"

    @app.durable_task(version="2", versions={"1": old})
    def deliver(input: dict, ctx: Context) -> str | None:
        return f"new {ctx.version}"

    assert deliver.mock_run({}) == "new 2"
    assert deliver.mock_run({}, version="1") == "old 1"
    with pytest.raises(UsageError, match="version '3' was asked for, and deliver has version '2' and version '1'"):
        deliver.mock_run({}, version="3")

    @app.durable_task(version="2")
    def branching(input: dict, ctx: Context) -> str | None:
        return ctx.version

    assert branching.mock_run({}, version="1") == "1"
