"""Rows that break the rules of a file's tables, and settings that somebody has spoilt: others go on, and it is said."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import apsw
import pytest
from click.testing import CliRunner

from fanwood import Context, Fanwood, RunState, StoreError, TaskRunError
from fanwood.cli.main import cli
from fanwood.engine import commits
from fanwood.ids import id_bytes
from tests.conftest import MakeApp
from tests.faults.processes import until
from tests.raw import sql
from tests.serving import serving

PATIENCE = 60.0
NO_UTF8 = "cast(x'22ff22' as text)"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "PAUSES", (0.01,))


@pytest.fixture
def client(make_app: MakeApp) -> Fanwood:
    return make_app(local_worker=False)


@pytest.fixture
def file(url: str) -> str:
    """Whose rows can be made to break its rules."""
    if not url.startswith("sqlite"):
        pytest.skip("a server lets nobody do that")
    return url


def against_the_rules(url: str, statement: str, *bindings: Any) -> None:
    with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as connection:
        connection.set_busy_timeout(60_000)
        connection.pragma("ignore_check_constraints", 1)
        connection.execute(statement, bindings)
        assert connection.changes()


def declare(app: Fanwood) -> Any:
    @app.task(retries=1, backoff_factor=1.0)
    async def one(input: dict, ctx: Context) -> int:
        if input.get("fails") and ctx.retry_count == 0:
            raise ValueError("as it was asked to")
        return input.get("n", 0)

    return one


def doctor(url: str) -> str:
    return CliRunner().invoke(cli, ["doctor", "--url", url], env={"COLUMNS": "1000"}).stdout


BROKEN = {"waits for something": "waits = 2", "is due": "due_at = 5", "has ended": "finished_at = 5"}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_queued_and_breaks_a_rule_fails_alone(
    client: Fanwood, make_app: MakeApp, file: str, broken: str
) -> None:
    one = declare(client)
    refs = [one.run_no_wait({"n": n}) for n in range(3)]
    against_the_rules(file, f"update run set {BROKEN[broken]} where id = $1", id_bytes(refs[0].id))
    assert declare(make_app()).run({"n": 7}, timeout=PATIENCE) == 7
    assert [ref.result(timeout=PATIENCE) for ref in refs[1:]] == [1, 2]
    with pytest.raises(TaskRunError, match="could not be read"):
        refs[0].result(timeout=PATIENCE)
    assert refs[0].status() is RunState.FAILED


def test_what_is_due_and_breaks_a_rule_holds_up_no_timer(client: Fanwood, make_app: MakeApp, file: str) -> None:
    one = declare(client)
    refs = [one.run_no_wait({"n": n}) for n in range(3)]
    for ref, spoilt in zip(refs, ("waits = 2, finished_at = 5", "waits = 2", "waits = 2"), strict=True):
        statement = f"update run set state = 2, attempt = 1, started_at = 1, due_at = 1, {spoilt} where id = $1"
        against_the_rules(file, statement, id_bytes(ref.id))
    declare(make_app()).run({}, timeout=PATIENCE)
    assert [ref.result(timeout=PATIENCE) for ref in refs] == [0, 1, 2]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_closed_or_paused_and_breaks_a_rule_holds_up_nothing(
    client: Fanwood, make_app: MakeApp, file: str, broken: str
) -> None:
    one = declare(client)

    @client.task
    async def parent(input: dict) -> int:
        await one.aio_run_many_no_wait([one.create_bulk_run_item({"n": n}) for n in range(3)])
        return (await one.aio_run_many([one.create_bulk_run_item({"n": 9})]))[0]

    refs = [parent.run_no_wait({"n": n}) for n in range(2)]

    with serving(client.worker(workflows=[parent])):
        until(lambda: all(len(client.runs.children(ref.id)) == 4 for ref in refs), "all have spawned")
    children = [[run.id for run in client.runs.children(ref.id)] for ref in refs]
    paused = one.run_no_wait({"n": 5})
    client.runs.pause(paused.id)
    for run_id in (children[0][0], paused.id):
        against_the_rules(file, f"update run set {BROKEN[broken]} where id = $1", id_bytes(run_id))
    for ref in refs:
        client.runs.cancel(ref.id)
    assert declare(make_app()).run({}, timeout=PATIENCE) == 0
    until(
        lambda: all(client.runs.get(run_id).status.is_terminal for ids in children for run_id in ids),
        "all that was closed has ended",
    )


SPOILT = {"no number": "'what'", "nothing": "''", "a negative number": "'-7'", "too much": f"'{10**30}'", "zero": "'0'"}
IN_A_FILE = {"no text": NO_UTF8}


@pytest.mark.parametrize("spoilt", [*SPOILT, *IN_A_FILE, "gone"])
def test_whatever_stands_in_the_settings_nothing_is_lost(
    client: Fanwood, make_app: MakeApp, url: str, spoilt: str
) -> None:
    """Who waits hears of events and gets messages; workers begin; only tokens can't be made, and that is said."""
    if spoilt in IN_A_FILE and not url.startswith("sqlite"):
        pytest.skip("a server takes no such text")
    client.events.push("other", {"n": 0})
    waits = waiting(client)
    refs = [waits.run_no_wait({}) for _ in range(4)]
    with serving(client.worker(workflows=[waits])):
        until(lambda: all(client.runs.children(ref.id) for ref in refs), "they wait")
    sql(url, "insert into setting values ('told:x', '1 0')")
    settings = "where name <> 'oldest_program'"
    sql(
        url,
        f"delete from setting {settings}"
        if spoilt == "gone"
        else f"update setting set value = {(SPOILT | IN_A_FILE)[spoilt]} {settings}",
    )
    said = doctor(url)
    assert "setting 'secret'" in said
    assert ("setting 'members'" in said) == (spoilt not in ("zero", "gone"))
    app = make_app()

    @app.task(retries=0)
    async def promises(input: dict, ctx: Context) -> int:
        return await ctx.promise(int, "p").aio_result()

    with serving(app.worker(workflows=[promises, waiting(app)])):
        app.events.push("go", {"n": 3})
        until(lambda: all(len(client.runs.children(ref.id)) == 2 for ref in refs), "they wait for a message")
        for ref in refs:
            app.runs.send(ref.id, "more", 4)
        assert [ref.result(timeout=PATIENCE) for ref in refs] == [7] * 4
        with pytest.raises(TaskRunError, match="'secret'"):
            promises.run({}, timeout=PATIENCE)
    with pytest.raises(StoreError, match="'secret'"):
        app.promises.resolve("fwp_" + "A" * 43, 1)


def waiting(app: Fanwood) -> Any:
    @app.task(name="waiting")
    async def waits(input: dict, ctx: Context) -> int:
        event = await ctx.aio_wait_for_event("go")
        return event["n"] + (await ctx.aio_receive("more")).payload

    return waits


SPOILT_WAITS = {
    "no JSON": "'{'", "nothing": "''", "of another shape": "'[1]'",
    "another key": """'{"key":"other","match":{"n":0}}'""",
    "other paths": """'{"key":"go","match":{"m":0}}'""", "no paths": """'{"key":"go","match":5}'""",
}  # fmt: skip
NO_TEXT = {"no text": NO_UTF8}


@pytest.mark.parametrize("spoilt", [*SPOILT_WAITS, *NO_TEXT])
def test_a_wait_that_was_spoilt_hides_no_other_and_fails(make_app: MakeApp, url: str, spoilt: str) -> None:
    if spoilt in NO_TEXT and not url.startswith("sqlite"):
        pytest.skip("a server takes no such text")
    app = make_app()

    @app.task
    async def waits(input: dict, ctx: Context) -> int:
        return (await ctx.aio_wait_for_event("go", match={"n": input["n"]}))["n"]

    refs = [waits.run_no_wait({"n": n}) for n in range(6)]
    until(lambda: all(app.runs.children(ref.id) for ref in refs), "all wait")
    ((first, parent),) = sql(url, "select id, parent_id from run where awaits is not null order by awaits limit 1")
    sql(url, f"update run set input = {(SPOILT_WAITS | NO_TEXT)[spoilt]} where id = $1", first)
    others = {n: ref for n, ref in enumerate(refs) if id_bytes(ref.id) != parent}
    (its,) = set(refs) - set(others.values())
    for n in others:
        app.events.push("go", {"n": n})
    assert {n: ref.result(timeout=PATIENCE) for n, ref in others.items()} == {n: n for n in others}
    with pytest.raises(TaskRunError, match="could not be read"):
        its.result(timeout=PATIENCE)


SPOILT_EXPRESSIONS = {
    "not in CEL": """'{"key":"go","expression":"input.n =="}'""", "an empty one": """'{"key":"go","expression":""}'""",
}  # fmt: skip


@pytest.mark.parametrize("spoilt", SPOILT_EXPRESSIONS)
def test_an_expression_that_was_spoilt_hides_no_other_and_keeps_no_event_open(
    make_app: MakeApp, url: str, spoilt: str
) -> None:
    pytest.importorskip("cel")
    app = make_app()

    @app.task
    async def waits(input: dict, ctx: Context) -> int:
        return (await ctx.aio_wait_for_event("go", f"input.n == {input['n']}"))["n"]

    refs = [waits.run_no_wait({"n": n}) for n in range(4)]
    until(lambda: all(app.runs.children(ref.id) for ref in refs), "all wait")
    one = "select id from run where parent_id = $1"
    sql(url, f"update run set input = {SPOILT_EXPRESSIONS[spoilt]} where id in ({one})", id_bytes(refs[2].id))
    for n in (3, 0, 1):
        app.events.push("go", {"n": n})
    assert [refs[n].result(timeout=PATIENCE) for n in (0, 1, 3)] == [0, 1, 3]
    with pytest.raises(TaskRunError, match="could not be read"):
        refs[2].result(timeout=PATIENCE)
    until(lambda: not sql(url, "select id from event where open <> 0"), "no event stays open")


@pytest.mark.parametrize("spoilt", [*SPOILT_WAITS, *NO_TEXT])
def test_a_receive_that_was_spoilt_fails_and_others_receive(make_app: MakeApp, url: str, spoilt: str) -> None:
    if spoilt in NO_TEXT and not url.startswith("sqlite"):
        pytest.skip("a server takes no such text")
    app = make_app()
    both = ['on\x7fe \U0001f600"\\', "two"]

    @app.task
    async def waits(input: dict, ctx: Context) -> list:
        found = await asyncio.gather(*[ctx.aio_receive(name) for name in both], return_exceptions=True)
        return [str(each) if isinstance(each, BaseException) else each.payload for each in found]

    ref = waits.run_no_wait({})
    until(lambda: len(app.runs.children(ref.id)) == 2, "it waits for both")
    one = "select id from run where awaits is not null and input like '%two%'"
    sql(url, f"update run set input = {(SPOILT_WAITS | NO_TEXT)[spoilt]} where id in ({one})")
    for name in both:
        app.runs.send(ref.id, name, 7)
    said, failed = ref.result(timeout=PATIENCE)
    assert said == 7
    assert "could not be read" in failed


NOT_FOUND = {
    "a sleep with no time": ("~sleep", "due_at = null"), "a sleep of another kind": ("~sleep", "kind = 13"),
    "an event with no mark": ("~event", "awaits = null"), "an event with another mark": ("~event", "awaits = id"),
    "an event that is a task": ("~event", "kind = 0"), "an event of a kind that there is not": ("~event", "kind = 99"),
    "a message with no mark": ("~message", "awaits = null"), "a promise that is a sleep": ("~promise", "kind = 11"),
    "a promise that is nothing": ("~promise", "kind = 10"), "an event that can't be read": ("~event", "input = '{'"),
}  # fmt: skip


@pytest.mark.parametrize("spoilt", NOT_FOUND)
def test_of_what_may_wait_for_ever_it_is_said_and_it_can_be_ended(client: Fanwood, url: str, spoilt: str) -> None:
    """By `why`, and by `fanwood doctor`; and what `why` advises does it, so that whoever waits goes on."""
    kind, harm = NOT_FOUND[spoilt]

    @client.durable_task(retries=0)
    async def waits(input: dict, ctx: Context) -> None:
        match input["kind"]:
            case "~sleep":
                await ctx.aio_sleep_for(3600)
            case "~event":
                await ctx.aio_wait_for_event("go")
            case "~message":
                await ctx.aio_receive("more")
            case _:
                await ctx.promise(int, "p").aio_result()

    ref = waits.run_no_wait({"kind": kind})
    with serving(client.worker(workflows=[waits])):
        until(lambda: client.runs.children(ref.id), "it waits")
        (wait,) = client.runs.children(ref.id)
        assert "spoilt" not in client.runs.why(wait.id).text
        assert wait.id not in doctor(url).replace("-", "")
        sql(url, f"update run set {harm} where id = $1", id_bytes(wait.id))
        said = client.runs.why(wait.id)
        assert (said.cause, said.task_name) == ("spoilt", kind)
        assert "may wait for ever" in said.text
        assert id_bytes(wait.id).hex() in doctor(url)
        done = CliRunner().invoke(cli, [*(said.command or "").split()[1:], "--url", url])
        assert done.exit_code == 0, done.output
        with pytest.raises(TaskRunError):
            ref.result(timeout=PATIENCE)
