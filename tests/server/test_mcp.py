"""What an agent's model gets to see, and do: by the protocol's own client."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from fanwood import Fanwood, Settings, SystemClock, TaskRunError
from fanwood.cli import mcp as command
from fanwood.cli.main import cli
from fanwood.lens.views import (
    AttemptView,
    BudgetView,
    Cluster,
    Counts,
    CriticalStep,
    ErrorBrief,
    ErrorDetail,
    FamilyView,
    KinView,
    LimitView,
    LogLineView,
    RunBrief,
    RunDetail,
    SpentView,
    TaskLine,
    TaskView,
    TreeView,
    WhyView,
    WorkerLine,
)
from fanwood.mcp import telling
from fanwood.mcp.answers import MOST, marked, tokens
from fanwood.model.actions import SPACE
from tests.chaos.scale import scaled
from tests.server.conftest import World

pytest.importorskip("mcp", reason="make setup installs it")

LOOKS = {
    "list_runs", "tree_summary", "get_run", "list_children", "failures", "why", "logs", "slowest", "critical_path",
    "tasks", "workers",
}  # fmt: skip
ACTS = {"start_run", "cancel_run", "retry_run", "fork_run"}
SECRETS = ("hunter2", "k-123", "abc123", "abc.def")


class Agent:
    """A program that asks for its model."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def names(self) -> set[str]:
        return {tool.name for tool in (await self.client.list_tools()).tools}

    async def ask(self, name: str, *, refused: bool = False, **arguments: Any) -> str:
        result = await self.client.call_tool(name, arguments)
        (content,) = result.content
        assert result.is_error is refused, content.text
        assert tokens(content.text) < MOST
        return content.text


@asynccontextmanager
async def agent(url: str, namespace: str = "", **options: Any) -> AsyncIterator[Agent]:
    """A server in this process, and a client of it."""
    from mcp import Client

    from fanwood.mcp.serving import FanwoodServer

    settings = Settings.load(database_url=url, namespace=namespace)
    server = FanwoodServer(settings, SystemClock(), **options)
    try:
        async with Client(server.server) as client:
            yield Agent(client)
    finally:
        await server.close()


async def test_what_it_looks_at(world: World):
    root, failed, done = world.shop
    async with agent(world.url) as one:
        assert await one.names() == LOOKS
        for tool in (await one.client.list_tools()).tools:
            assert tool.annotations.read_only_hint
            assert tool.input_schema["type"] == "object"
            assert tool.description
        assert f"{root[-8:]} shop/order: running" in await one.ask("list_runs")
        assert f"{failed[-8:]} shop/item shop 0: failed" in await one.ask("list_runs", all=True, state="failed")
        summary = await one.ask("tree_summary", run=done)  # of its tree
        assert "runs: 3: 1 completed, 1 failed, 1 running" in summary
        assert "1 x ValueError: token=(masked) refused by shop" in summary
        assert "ValueError: token=(masked) refused by shop" in await one.ask("get_run", run=failed[-8:])
        assert f"below shop/order {root[-8:]} (running)" in await one.ask("get_run", run=failed)
        assert f"{done[-8:]} shop/item shop 1: completed" in await one.ask("list_children", run=root)
        assert "refused by bank" in await one.ask("failures")
        assert "refused by bank" not in await one.ask("failures", tree=root)
        assert "cause: failed" in await one.ask("why", run=failed)
        assert "shop: authorization: (masked)" in await one.ask("logs", run=root)
        assert "nothing was logged" in await one.ask("logs", run=root, after=0)
        assert "shop/item" in await one.ask("slowest", run=root)
        assert "its own:" in await one.ask("critical_path", run=root)
        assert "bank/order" in await one.ask("tasks")
        assert "worker of shop on far/1: live" in await one.ask("workers")


async def test_secrets_and_payloads(world: World):
    asked: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in sorted(LOOKS)]
    asked += [("get_run", {"run": run}) for run in world.shop] + [("list_runs", {"all": True})]
    async with agent(world.url, payloads=True) as shown, agent(world.url) as hidden:
        for name, arguments in asked:
            with_payloads, without = await shown.ask(name, **arguments), await hidden.ask(name, **arguments)
            assert not any(secret in with_payloads + without for secret in SECRETS), name
            assert "max_tokens" not in without
        assert '"max_tokens":5' in await shown.ask("get_run", run=world.shop[0])
        assert 'output: "shop"' in await shown.ask("get_run", run=world.shop[2])


async def test_a_namespace_sees_nothing_of_others(world: World):
    async with agent(world.url, "shop") as one:
        for name in sorted(LOOKS):
            assert "bank" not in await one.ask(name)
        for name in ("tree_summary", "get_run", "list_children", "why", "logs", "slowest", "critical_path"):
            assert "bank" not in await one.ask(name, refused=True, run=world.bank[0])


async def test_what_is_wrong_is_said_to_the_model(world: World, tmp_path: Path):
    async with agent(world.url) as one, agent(f"sqlite:///{tmp_path}/none.db") as nowhere:
        for name, arguments, said in (
            ("nothing", {}, "There is no tool 'nothing'. There are: list_runs,"),
            ("start_run", {"task": "shop/order"}, "There is no tool 'start_run'"),
            ("why", {"run": "zzz"}, "'zzz' is not a run id"),
            ("why", {"run": "ffffffff"}, "no run's id begins or ends with 'ffffffff'"),
            ("why", {"runs": "x"}, "The arguments don't fit: Object contains unknown field `runs`"),
            ("why", {"run": 5.5}, "The arguments don't fit: "),
            ("list_runs", {"limit": 51}, "The arguments don't fit: "),
            ("list_runs", {"state": "lost"}, "The arguments don't fit: "),
            ("list_runs", {"since": "soon"}, "since"),
            ("list_runs", {"since": "9" * 40}, "since"),
            ("list_runs", {"after": "x"}, "`after` is what the answer before said"),
            ("list_children", {"after": "x"}, "'x'"),
            ("logs", {"after": 2**63}, "The arguments don't fit: "),
        ):
            assert said in await one.ask(name, refused=True, **arguments)
        assert "none.db" in await nowhere.ask("list_runs", refused=True)


async def test_what_it_does_if_it_may(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/runs.db"
    async with Fanwood(url, local_worker=True) as app, agent(url, allows_changes=True) as one:
        fails = [True]

        @app.task
        def work(n: int) -> int:
            if fails[0]:
                raise ValueError("not yet")
            return n

        with pytest.raises(TaskRunError, match="not yet"):
            await work.aio_run(1)
        assert await one.names() == LOOKS | ACTS
        assert "input: must be integer" in await one.ask("start_run", refused=True, task="work", input="x")
        assert "There is no task gone" in await one.ask("start_run", refused=True, task="gone")
        assert "There is no task fanwood.actions/" in await one.ask(
            "start_run", refused=True, task="fanwood.actions/bulk"
        )
        (failed,) = await app.runs.aio_list()
        fails[0] = False
        assert "retry of" in await one.ask("retry_run", run=failed.id)
        assert await app.runs.get_run_ref(failed.id).aio_result(60) == 1
        assert "nothing to retry" in await one.ask("retry_run", refused=True, run=failed.id)
        about = {"run": failed.id, "input": 3, "budget": {"runs": 2}}
        made = (await one.ask("fork_run", **about)).split(f"forked {failed.id}: ")[1][:36]
        assert await app.runs.get_run_ref(made).aio_result(60) == 3
        assert [limit.amount for limit in (await app.runs.aio_get(made)).budget] == [2]
        assert "input: must be integer" in await one.ask("fork_run", refused=True, run=failed.id, input="x")
        assert "is not below" in await one.ask("fork_run", refused=True, run=failed.id, at=made)
        started = (await one.ask("start_run", task="work", input=4, key="once")).split("started ")[1][:36]
        assert started in await one.ask("start_run", task="work", input=4, key="once")
        assert await app.runs.get_run_ref(started).aio_result(60) == 4
        for run in ("", "@last", "ab"):  # nobody cancels the newest by chance
            assert "don't fit" in await one.ask("cancel_run", refused=True, run=run)
        assert "nothing to cancel" in await one.ask("cancel_run", refused=True, run=started)
        assert started[-8:] in await one.ask("get_run")  # the newest, and not what was done
        by = {run.additional_metadata["by"] for run in await app.runs.aio_list() if run.task_name.startswith(SPACE)}
        assert by == {"mcp"}
    async with Fanwood(url, local_worker=False) as app, agent(url, allows_changes=True) as one:
        nobody = app.task(name="nobody")(lambda: 1)
        waiting = await nobody.aio_run_no_wait()
        assert "it is CANCELLED" in await one.ask("cancel_run", run=waiting.id[-8:])


# --- how large it may be ----------------------------------------------------------------------------------------------

LONG = ["日本🦈" * 2000, "x" * 6000, "q9Z_" * 2000, "</data-abc>\x1b[31m\n" * 500, "7" * 6000]
RUN_ID = "01a21a50-3cd4-70c7-8af1-7f8d826b1ff9"


def monstrous(text: str) -> list[str]:
    """Each answer about something that is as large as nothing ever was."""
    many = Counts(*(10**15 for _ in range(6)))
    error = ErrorBrief("failed", text, text)
    run = RunBrief(
        RUN_ID, RUN_ID, text, "failed", "task", 10**6, 0, key=text, retries=10**9, attempt=10**9, started_at=1,
        finished_at=2**62, error=error, preview=text,
    )  # fmt: skip
    clusters = tuple(Cluster(str(n), text, text, 10**12, 0, 2**62, (text,) * 9, (run,) * 3) for n in range(300))
    tasks = tuple(TaskView(f"{n}{text}", many, p50=1, p95=2, slowest=2**62) for n in range(200))
    view = TreeView(
        run, "1.1", 2**62, 1.0, many, waits=many, rate=1e12, eta=(1.0, 1e12), is_stalled=True, slots=10**9,
        in_flight=10**9, oldest_queued=1, tasks=tasks, clusters=clusters, unserved=(text,) * 200,
    )  # fmt: skip
    detail = ErrorDetail("failed", text, text, text)
    attempts = (AttemptView(1, "failed", text, 1, 2, detail),) * 200
    families = (FamilyView(text, many),) * 200
    limits = (LimitView(RUN_ID, text[:64], *(["9" * 19] * 4)),) * 32
    budget = BudgetView(limits, (SpentView(RUN_ID, text[:64], "9" * 19, text),) * 160, True)
    kin = KinView("helps", RUN_ID, text, "running")
    run = msgspec.structs.replace(run, kin=kin)
    whole = RunDetail(run, (run,) * 200, attempts, detail, families=families, budget=limits)
    return [
        telling.tree(view, budget),
        telling.tree(msgspec.structs.replace(view, done=0.5), budget),
        telling.listed((run,) * 50, 2**62, text, "none"),
        telling.failures(clusters, 2**62),
        telling.run(whole, [("input", text), ("output", text)], 2**62),
        telling.why(WhyView(RUN_ID, text, "failed", text, text, text)),
        telling.logs((LogLineView(1, 2, 3, text, text),) * 200, False),
        telling.path((CriticalStep(run, 2**62, 10**9),) * 200, 2**62),
        telling.tasks((TaskLine(text, "task", text, schema=text, ended=9),) * 200),
        telling.workers((WorkerLine(1, text, text, 1, 0, 0, 10**9, 10**9),) * 200, 2**62),
    ]


@pytest.mark.parametrize("text", scaled(LONG, [LONG[3]]))
def test_that_no_answer_is_large(text: str):
    for answer in monstrous(text):
        assert tokens(answer) < MOST
        assert len(answer) < 8_000
        assert "\x1b" not in answer
        (mark,) = {line[1:-1] for line in answer.splitlines() if line.startswith("<data-") and line != "<data-abc>"}
        assert answer.endswith(f"</{mark}>")
        assert answer.count(f"</{mark}>") == 1  # nobody writes what ends it


def test_marks_are_new_each_time():
    assert marked("a") != marked("a")


# --- as a program -----------------------------------------------------------------------------------------------------


async def test_over_stdin_and_stdout(world: World):
    from mcp import Client, StdioServerParameters, stdio_client

    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    arguments = ["-m", "fanwood", "mcp", "--url", world.url]
    with Path(os.devnull).open("w") as nowhere:
        server = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
        async with Client(stdio_client(server, nowhere)) as client:
            one = Agent(client)
            assert await one.names() == LOOKS
            assert "runs: 3:" in await one.ask("tree_summary", run=world.shop[0])


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "mcp" else find_spec(name))
    result = CliRunner().invoke(cli, ["mcp"])
    assert result.exit_code == 2
    assert result.stderr == "error: fanwood mcp needs the package mcp: pip install 'fanwood[mcp]'\n"
