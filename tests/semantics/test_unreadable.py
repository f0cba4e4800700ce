"""Rows that somebody has written by hand, or that a newer program understands: such a run fails, and nothing else."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import closing, suppress
from typing import Any

import apsw
import pytest
from click.testing import CliRunner

from fanwood import Budget, Context, Fanwood, FanwoodError, RunState, Settings, TaskRunError, WaitTimeoutError
from fanwood.cli.main import cli
from fanwood.engine import commits
from fanwood.ids import id_bytes
from fanwood.model.commands import WorkerInfo
from fanwood.server.app import create
from fanwood.server.options import Options
from tests.conftest import MakeApp
from tests.faults.processes import until
from tests.raw import sql
from tests.server.asgi import Client
from tests.serving import serving

PATIENCE = 60.0
NO_UTF8 = "cast(x'22ff22' as text)"
LARGEST = 2**31 - 1
LAST = 10
"""The last number of a state."""

QUEUED = {"an input that is no JSON": "input = '{\"n\":'", "an input of another shape": "input = '[1, 2]'"}
QUEUED_IN_A_FILE = {
    "an input that is no text": f"input = {NO_UTF8}",
    "metadata that is no text": f"metadata = {NO_UTF8}",
    "no more attempts to count": f"attempt = {2**63 - 1}",
}
QUEUED_ON_A_SERVER = {"no more attempts to count, there": f"attempt = {LARGEST}"}
HARMLESS = {
    "a kind of a newer program": "kind = 99",
    "a parent's end of a newer program": "on_parent_end = 99",
    "a priority beyond all": f"priority = {LARGEST}",
    "a deadline beyond all": f"deadline = {2**63 - 1}, deadline_by = id",
    "a schedule timeout beyond all": f"schedule_timeout = {2**63 - 1}",
    "times beyond all": f"created_at = {2**63 - 1}",
    "times before all": f"created_at = {-(2**62)}",
    "deaths beyond all": f"deaths = {LARGEST}",
}


def spoil(url: str, what: str, run_id: str) -> None:
    sql(url, f"update run set {what} where id = $1", id_bytes(run_id))


def declare(app: Fanwood) -> tuple[Any, Any]:
    @app.task(retries=1)
    async def one(input: dict, ctx: Context) -> int:
        if ctx.retry_count == 0 and input.get("fails"):
            raise ValueError("as it was asked to")
        ctx.log(f"{ctx.deadline} {ctx.additional_metadata}")
        return 1

    @app.task
    async def another(input: dict) -> int:
        return 2

    return one, another


@pytest.fixture
def client(make_app: MakeApp) -> Fanwood:
    return make_app(local_worker=False)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "PAUSES", (0.01,))


@pytest.mark.parametrize("spoilt", [*QUEUED, *QUEUED_IN_A_FILE, *QUEUED_ON_A_SERVER])
def test_a_queued_run_that_cannot_be_read_fails_alone(
    client: Fanwood, make_app: MakeApp, url: str, spoilt: str
) -> None:
    if spoilt in (QUEUED_ON_A_SERVER if url.startswith("sqlite") else QUEUED_IN_A_FILE):
        pytest.skip("there it does no harm, or can't be")
    one, another = declare(client)
    refs = [one.run_no_wait({}), one.run_no_wait({}), another.run_no_wait({})]
    spoil(url, {**QUEUED, **QUEUED_IN_A_FILE, **QUEUED_ON_A_SERVER}[spoilt], refs[0].id)
    late, _ = declare(make_app(local_worker=True))
    assert late.run({}, timeout=PATIENCE) == 1
    assert [refs[1].result(timeout=PATIENCE), refs[2].result(timeout=PATIENCE)] == [1, 2]
    with pytest.raises(TaskRunError):
        refs[0].result(timeout=PATIENCE)
    shown(url, refs[0].id)


@pytest.mark.parametrize("spoilt", HARMLESS)
def test_what_is_odd_is_put_up_with(client: Fanwood, make_app: MakeApp, url: str, spoilt: str) -> None:
    """Claimed, retried, and shown."""
    one, _ = declare(client)
    refs = [one.run_no_wait({"fails": True}), one.run_no_wait({})]
    spoil(url, HARMLESS[spoilt], refs[0].id)
    declare(make_app(local_worker=True))[0].run({}, timeout=PATIENCE)
    assert [ref.result(timeout=PATIENCE) for ref in refs] == [1, 1]
    shown(url, refs[0].id)


ENDS = {
    "an output that is no JSON": "output = '{'",
    "no output": "output = null",
    "an error that is no JSON": "state = 9, output = null, error = 'it broke'",
    "an error of another shape": """state = 9, output = null, error = '{"kind":"new","group":["x"]}'""",
    "no error": "state = 9, output = null, error = null",
}
ENDS_IN_A_FILE = {
    "an output that is no text": f"output = {NO_UTF8}",
    "an error that is no text": f"state = 9, output = null, error = {NO_UTF8}",
}


@pytest.mark.parametrize("spoilt", [*ENDS, *ENDS_IN_A_FILE])
def test_an_end_that_cannot_be_read_is_told_all_the_same(
    client: Fanwood, make_app: MakeApp, url: str, spoilt: str
) -> None:
    """To who waits, to a parent that asks again, and to people; and others hear of theirs."""
    if spoilt in ENDS_IN_A_FILE and not url.startswith("sqlite"):
        pytest.skip("a server takes no such text")
    one, _ = declare(client)
    refs = [one.run_no_wait({}, idempotency_key=f"{n}") for n in range(2)]
    worker = make_app(local_worker=True)
    declare(worker)[0].run({}, timeout=PATIENCE)
    until(lambda: all(ref.status() is RunState.COMPLETED for ref in refs), "both have ended")
    spoil(url, {**ENDS, **ENDS_IN_A_FILE}[spoilt], refs[0].id)
    told = []
    for again in (refs[0].result, lambda timeout: one.run({}, idempotency_key="0", timeout=timeout)):
        try:
            told.append(again(timeout=PATIENCE))
        except Exception as error:
            told.append(type(error))
    assert len(told) == 2
    assert WaitTimeoutError not in told
    assert refs[1].result(timeout=PATIENCE) == 1
    shown(url, refs[0].id)


def test_children_and_metadata_that_were_spoilt_are_passed_by(client: Fanwood, make_app: MakeApp, url: str) -> None:
    """Lists that look into metadata, and a tree whose parent and root are nowhere."""

    @client.task
    async def parent(input: dict) -> int:
        await leaf.aio_run_many_no_wait([leaf.create_bulk_run_item(n) for n in range(3)])
        return 1

    @client.task
    async def leaf(input: int) -> int:
        return input

    ref = parent.run_no_wait({}, additional_metadata={"a": 1})
    with serving(client.worker(workflows=[parent])):
        assert ref.result(timeout=PATIENCE) == 1
    broken, *others = client.runs.children(ref.id)
    spoil(url, "metadata = '{bad'", broken.id)
    listed = client.runs.list(all_runs=True, metadata={"a": 1})
    assert {run.id for run in listed} == {ref.id, *[run.id for run in others]}
    shown(url, ref.id)
    shown(url, broken.id)


def test_a_retry_of_the_store_survives_odd_rows(client: Fanwood, make_app: MakeApp, url: str) -> None:
    """A lost worker's runs go back, an expired run fails, and a due one is queued: also those that are odd."""
    one, _ = declare(client)
    refs = [one.run_no_wait({}) for _ in range(4)]
    odd = f"schedule_timeout = {2**63 - 1}, deaths = {LARGEST - 5}, deadline_by = '\\x01'"
    if url.startswith("sqlite"):
        odd = odd.replace("'\\x01'", "x'01'")
    dead = client.engine().call(lambda store: store.register(worker_info(), ())).result(PATIENCE)
    spoil(url, f"{odd}, state = 1, attempt = 1, worker_id = {dead}, started_at = 1", refs[0].id)
    spoil(url, f"state = 1, attempt = 1, worker_id = {dead}, started_at = 1", refs[1].id)
    spoil(url, f"{odd}, state = 2, waits = 2, due_at = 1", refs[2].id)
    spoil(url, f"{odd}, expires_at = 1, deadline = 1", refs[3].id)
    client.engine().call(lambda store: store.reap(dead, 3)).result(PATIENCE)
    declare(make_app(local_worker=True))[0].run({}, timeout=PATIENCE)
    assert refs[1].result(timeout=PATIENCE) == 1
    for ref in (refs[0], refs[3]):
        with pytest.raises(TaskRunError):
            ref.result(timeout=PATIENCE)
    until(lambda: refs[2].status() is not RunState.WAITING, "it has been queued")
    for ref in refs:
        shown(url, ref.id)


@pytest.mark.parametrize(
    "spoilt", ["priority = 'high'", "input = x'00ff'", "child_key = x'ff'", "deadline = 'soon'", "attempt = 1.5"]
)
def test_a_file_takes_nothing_of_another_type(client: Fanwood, url: str, spoilt: str) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("a server never did")
    ref = declare(client)[0].run_no_wait({})
    with pytest.raises(apsw.ConstraintError, match="cannot store"):
        spoil(url, spoilt, ref.id)


SHORTCOMINGS = {
    "leads to nobody": "parent = root_id, open = 0",
    "leads back to itself": "parent = run_id, open = 0",
    "is of another unit": "unit = unit || '?'",
}
IN_A_FILE = {"has no text for a unit": f"unit = {NO_UTF8}"}


@pytest.mark.parametrize("spoilt", [*SHORTCOMINGS, *IN_A_FILE])
def test_runs_end_whatever_became_of_their_budgets(make_app: MakeApp, url: str, spoilt: str) -> None:
    if spoilt in IN_A_FILE and not url.startswith("sqlite"):
        pytest.skip("a server takes no such text")
    app, begun, go_on = make_app(), threading.Event(), threading.Event()

    @app.task
    def spender(input: dict, ctx: Context) -> int:
        begun.set()
        go_on.wait(PATIENCE)
        with suppress(FanwoodError):
            ctx.spend(usd=1)
        return 1

    @app.task
    def giver(input: dict) -> int:
        return spender.run({}, budget=Budget(units={"usd": 2}, runs=2))

    ref = giver.run_no_wait({}, budget=Budget(units={"usd": 5}, runs=9))
    assert begun.wait(PATIENCE)
    root = id_bytes(ref.id)
    if spoilt == "leads to nobody":
        sql(url, "delete from budget where run_id = $1", root)
    sql(url, f"update budget set {({**SHORTCOMINGS, **IN_A_FILE})[spoilt]} where root_id = $1 and unit = 'usd'", root)
    go_on.set()
    assert ref.result(timeout=PATIENCE) == 1
    assert app.runs.get(app.runs.children(ref.id)[0].id).status is RunState.COMPLETED
    shown(url, ref.id)


def test_who_asks_below_a_deleted_root_is_answered(make_app: MakeApp, url: str) -> None:
    app, begun, go_on = make_app(), threading.Event(), threading.Event()
    ends: list[str] = []

    @app.task
    def leaf(input: dict) -> int:
        return 1

    @app.task
    def asks(input: dict, ctx: Context) -> int:
        begun.set()
        go_on.wait(PATIENCE)
        try:
            return leaf.run({}, share="tree", timeout=PATIENCE)
        except TaskRunError as error:
            ends.append(type(error).__name__)
            raise
        finally:
            ends.append("answered")

    @app.task
    def root(input: dict) -> int:
        return asks.run({})

    ref = root.run_no_wait({})
    assert begun.wait(PATIENCE)
    sql(url, "delete from run where id = $1", id_bytes(ref.id))
    go_on.set()
    until(lambda: "answered" in ends, "it was answered")
    assert leaf.run({}, timeout=PATIENCE) == 1


NUMBERS = {"of one that lives": 5, "of one that has ended": 99}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_state_that_there_is_not(client: Fanwood, make_app: MakeApp, url: str, number: str) -> None:
    """No table lets it in, unless that was told to. Whoever looks at it, and at what is beside it, is answered."""
    one, _ = declare(client)
    refs = [one.run_no_wait({}) for _ in range(2)]
    ended = ", finished_at = 1" if NUMBERS[number] > LAST else ""
    let_in(url, f"update run set state = {NUMBERS[number]}{ended} where id = $1", id_bytes(refs[0].id))
    assert declare(make_app(local_worker=True))[0].run({}, timeout=PATIENCE) == 1
    assert refs[1].result(timeout=PATIENCE) == 1
    assert refs[0].status() is (RunState.FAILED if ended else RunState.WAITING)
    shown(url, refs[0].id)
    assert CliRunner().invoke(cli, ["doctor", "--url", url]).stdout.startswith("store ")


def test_an_end_at_no_time(client: Fanwood, make_app: MakeApp, url: str) -> None:
    app = make_app()

    @app.task
    def leaf(input: int) -> int:
        return input

    @app.task
    def parent(input: dict) -> list[int]:
        return leaf.run_many([leaf.create_bulk_run_item(n) for n in range(3)])

    ref = parent.run_no_wait({})
    assert ref.result(timeout=PATIENCE) == [0, 1, 2]
    let_in(url, "update run set finished_at = null where id = $1", id_bytes(app.runs.children(ref.id)[1].id))
    shown(url, ref.id)


def test_an_event_that_is_no_json_is_shown_as_it_stands(client: Fanwood, url: str) -> None:
    event = client.events.push("order", {"n": 1})
    sql(url, "update event set payload = '{bad'")
    site = create(Settings.load(database_url=url), Options(token="t"))

    async def asked(target: str) -> Any:
        answer = await Client(site, "t").ask(target)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    async def both() -> list[Any]:
        try:
            return [
                (await asked("/api/v1/events"))[0]["payload"],
                (await asked(f"/api/v1/events/{event.id}"))["payload"],
            ]
        finally:
            await site.close()

    assert asyncio.run(both()) == ["{bad"] * 2


@pytest.mark.parametrize("clock", ["", "{", "[1]", '["x", 1e99]'])
def test_a_file_whose_clock_means_nothing_is_opened(client: Fanwood, make_app: MakeApp, url: str, clock: str) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("a server has its own")
    client.engine()
    sql(url, "update setting set value = $1 where name = 'clock'", clock)
    assert declare(make_app(local_worker=True))[0].run({}, timeout=PATIENCE) == 1


def let_in(url: str, statement: str, *bindings: Any) -> None:
    """What the tables' own checks refuse."""
    if url.startswith("sqlite"):
        with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as file:
            file.set_busy_timeout(60_000)
            file.pragma("ignore_check_constraints", 1)
            file.execute(statement, bindings)
        return
    checks = sql(url, "select conname from pg_constraint where conrelid = 'run'::regclass and contype = 'c'")
    for (name,) in checks:
        sql(url, f"alter table run drop constraint {name}")
    sql(url, statement, *bindings)


def worker_info() -> WorkerInfo:
    return WorkerInfo("dead", "elsewhere", 1, 4)


def shown(url: str, run_id: str) -> None:
    for command in (["runs", "get", run_id], ["runs", "ls", "--all"], ["tree", run_id]):
        result = CliRunner().invoke(cli, [*command, "--url", url])
        assert result.exit_code == 0, result.output + repr(result.exception)
