"""What is done to one run; and runs that are started, of tasks whose code is elsewhere."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from benchmarks.trees import Level, Shape, make
from fanwood import Context, Fanwood, Settings
from fanwood.ids import id_bytes, id_text
from fanwood.model.commands import TaskInfo, WorkerInfo
from fanwood.model.records import RunFilter
from fanwood.model.states import RunKind, RunState
from fanwood.store.store import Store
from tests.server.desk import desk

LAX = Shape("ingest", (Level(5, ("parse",), 5, failed=1),), state=RunState.COMPLETED)
FINE = Shape("ingest", (Level(5, ("parse",), 5),), state=RunState.COMPLETED)
ENDED = Shape("ingest", (Level(3, ("parse",), 3, failed=1, cancelled=1),), state=RunState.FAILED)
OPEN = Shape("ingest", (Level(3, ("parse",), 1),), state=RunState.WAITING)


async def test_retry_and_replay(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    by_state = {run.state: id_text(run.id) for run in await store.children(made.root)}
    async with desk(settings) as server:
        for state in (RunState.FAILED, RunState.CANCELLED):
            answer = await server.post(f"/runs/{by_state[state]}/retry", None, "operator")
            assert (answer.status, answer.body["state"], answer.body["done"]) == (200, "queued", True)
        completed = by_state[RunState.COMPLETED]
        answer = await server.post(f"/runs/{completed}/retry")
        assert (answer.status, answer.body["code"]) == (409, "wrong_state")
        assert (await server.post(f"/runs/{completed}/replay")).body["state"] == "queued"
        assert (await server.post(f"/runs/{completed}/replay")).status == 409
        assert (await server.post(f"/runs/{id_text(made.root)}/retry")).body["state"] == "queued"
        assert (await server.post(f"/runs/{'0' * 32}/retry")).status == 404
        assert (await server.post("/runs/nonsense/retry")).status == 404
        told = (await server.get("/actions")).body["actions"]
    assert [(each["action"], each["by"], each["state"]) for each in told] == [
        ("retry", "ada", "completed"), ("replay", "ada", "completed"), *[("retry", "otto", "completed")] * 2,
    ]  # fmt: skip


async def test_cancel(settings: Settings, store: Store):
    made = await make(settings, OPEN)
    async with desk(settings) as server:
        answer = await server.post(f"/runs/{id_text(made.root)}/cancel", None, "operator")
        assert (answer.status, answer.body["state"], answer.body["done"]) == (200, "cancelled", True)
        again = await server.post(f"/runs/{id_text(made.root)}/cancel")
        assert (again.status, again.body["state"], again.body.get("done", False)) == (200, "cancelled", False)
    assert {run.state for run in await store.children(made.root)} == {RunState.COMPLETED, RunState.CANCELLED}


async def test_what_is_retried_is_executed(settings: Settings, store: Store):
    fails = [True]
    app = Fanwood(settings.database_url, local_worker=True)

    @app.task
    async def fragile() -> int:
        if fails[0]:
            raise ValueError("not yet")
        return 7

    ref = await fragile.aio_run_no_wait()
    with pytest.raises(Exception, match="not yet"):
        await ref
    fails[0] = False
    async with desk(settings) as server:
        assert (await server.post(f"/runs/{ref.id}/retry")).status == 200
        await app.prepare([fragile.name])
        assert await app.runs.aio_get_result(ref.id) == 7
    await app.aio_close()


# --- starting --------------------------------------------------------------------------------------------------------

SCHEMA = {
    "$ref": "#/$defs/Order",
    "$defs": {
        "Order": {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 1}, "name": {"type": "string"}},
            "required": ["n"],
        }
    },
}


@pytest.fixture
async def published(store: Store) -> None:
    tasks = [
        TaskInfo(
            "shop/order", "task", priority=3, metadata='{"team":"red"}', schema=msgspec.json.encode(SCHEMA).decode()
        ),
        TaskInfo("shop/flow", "workflow"),
        TaskInfo("shop/flow:step", "step"),
        TaskInfo("plain", "task"),
    ]
    worker = await store.register(WorkerInfo("w", "h", 1, 1, ("plain",), 1_000_000), tasks)
    await store.unregister(worker)


@pytest.mark.usefixtures("published")
async def test_start(settings: Settings, store: Store):
    async with desk(settings) as server:
        body = {"input": {"n": 3}, "metadata": {"who": "me"}, "priority": 9}
        answer = await server.post("/tasks/shop/order/runs", body, "shop")
        assert answer.status == 201
        run = await store.get(bytes.fromhex(answer.body["id"].replace("-", "")))
        plain = await server.post("/tasks/plain/runs", {}, "operator")
        flow = await server.post("/tasks/shop/flow/runs", {"input": [1, "two"]})
        limits = {"runs": 9, "depth": 2, "seconds": 1.5, "units": {"usd": "0.1", "tokens": 7}}
        poor = await server.post("/tasks/plain/runs", {"budget": limits})
        said = (await server.get(f"/trees/{poor.body['id']}/budget")).body
    assert {each["unit"]: each["amount"] for each in said["limits"]} == {
        "runs": "9", "depth": "2", "seconds": "1.5", "usd": "0.1", "tokens": "7",
    }  # fmt: skip
    assert (run.task, run.state, run.priority, run.input) == ("shop/order", RunState.QUEUED, 9, '{"n":3}')
    assert msgspec.json.decode(run.metadata or "") == {"team": "red", "who": "me"}
    other = await store.get(bytes.fromhex(plain.body["id"].replace("-", "")))
    assert (other.task, other.input, other.metadata, other.priority) == ("plain", "{}", None, 1)
    assert (await store.get(bytes.fromhex(flow.body["id"].replace("-", "")))).kind is RunKind.WORKFLOW


@pytest.mark.usefixtures("published")
async def test_what_a_server_does_itself_can_not_be_started(settings: Settings, store: Store):
    """Though its tasks are there, once it has done anything: nobody would have seen before what they are about."""
    async with desk(settings) as server:
        assert (await server.post("/tasks/plain/runs", {})).status == 201
        names = [task.name for task in await store.tasks() if task.name.startswith("fanwood.actions/")]
        assert len(names) >= 4
        for name in names:
            for who in ("operator", "admin"):
                answer = await server.post(f"/tasks/{name}/runs", {}, who)
                assert (answer.status, answer.body["code"]) == (404, "unknown_task"), name


@pytest.mark.usefixtures("published")
async def test_what_can_not_be_started(settings: Settings, store: Store):
    async with desk(settings) as server:

        async def refused(task: str, body: object, who: str = "operator") -> tuple[int, str]:
            answer = await server.post(f"/tasks/{task}/runs", body, who)
            return answer.status, answer.body["code"]

        assert await refused("nothing", {}) == (404, "unknown_task")
        assert await refused("plain", {}, "shop") == (404, "unknown_task")
        assert await refused("fanwood.actions/bulk", {}) == (404, "unknown_task")
        assert await refused("shop/flow:step", {}) == (422, "not_startable")
        assert await refused("shop/order", {}) == (422, "input_does_not_fit")
        assert await refused("shop/order", {"input": {"n": "x"}}) == (422, "input_does_not_fit")
        assert await refused("plain", {"input": 1, "else": 2}) == (422, "bad_body")
        assert await refused("plain", {"priority": 1 << 40}) == (422, "bad_body")
        assert await refused("plain", {"key": ""}) == (422, "bad_body")
        for budget, code in (
            ({"runs": -1}, "bad_body"), ({"runs": 1.5}, "bad_body"), ({"runs": 1 << 63}, "bad_body"),
            ({"usd": 5}, "bad_body"), ({"seconds": "1e999"}, "bad_body"), ({}, "usage"),
            ({"units": {"usd": "much"}}, "usage"), ({"units": {"usd": "NaN"}}, "usage"),
            ({"units": {"usd": -1}}, "usage"), ({"units": {"runs": 1}}, "usage"),
            ({"units": {"usd": "9" * 500}}, "usage"),
            ({"units": {"usd": 1e300}}, "usage"),
        ):  # fmt: skip
            assert await refused("plain", {"budget": budget}) == (422, code), budget
        assert await refused("plain", {"input": "x" * 5_000_000}) == (413, "payload_too_large")
        assert await refused("plain", {"metadata": {"x": "y" * 70_000}}) == (422, "usage")
        assert await refused("plain", {}, "viewer") == (403, "not_allowed")
        deep = b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        assert (await server.post("/tasks/plain/runs", msgspec.Raw(deep))).status in (400, 422)
    assert (await store.listing(RunFilter())).runs == []


@pytest.mark.usefixtures("published")
async def test_a_key_is_one_run(settings: Settings, store: Store):
    async with desk(settings) as server:
        first = await server.post("/tasks/shop/order/runs", {"input": {"n": 1, "name": "a"}, "key": "k"})
        again = await server.post("/tasks/shop/order/runs", {"input": {"name": "a", "n": 1}, "key": "k"})
        other = await server.post("/tasks/shop/order/runs", {"input": {"n": 2}, "key": "k"})
        [*_, entry] = (await server.get("/actions")).body["actions"]
        found = {who: (await server.get("/search?q=k", who)).body.get("runs", []) for who in ("admin", "shop")}
    assert {who: [(run["id"], run["key"]) for run in runs] for who, runs in found.items()} == {
        who: [(first.body["id"], "k")] for who in found
    }
    assert (first.status, again.body["id"]) == (201, first.body["id"])
    assert (entry["action"], entry["by"], entry["state"]) == ("start", "ada", "completed")
    assert entry["filter"]["ids"] == [first.body["id"]]
    assert (other.status, other.body["code"]) == (409, "idempotency_conflict")


async def test_a_key_means_the_same_as_in_the_program(settings: Settings, store: Store):
    app = Fanwood(settings.database_url, namespace="shop", local_worker=False)

    @app.task
    async def order(input: dict[str, int]) -> int:
        return input["n"]

    ref = await order.aio_run_no_wait({"n": 1}, idempotency_key="k")
    await store.register(WorkerInfo("w", "h", 1, 1, (order.name,), 1), [order.spec.info()])
    async with desk(settings) as server:
        answer = await server.post("/tasks/shop/order/runs", {"input": {"n": 1}, "key": "k"})
    assert answer.body["id"] == ref.id
    await app.aio_close()


async def test_pause_and_resume(settings: Settings, store: Store):
    """One run, and all that a filter lets through; of what is to be resumed only what is paused is shown before."""
    made = await make(settings, OPEN)
    root = id_text(made.root)
    async with desk(settings) as server:
        answer = await server.post(f"/runs/{root}/pause", None, "operator")
        assert (answer.status, answer.body["state"], answer.body["done"]) == (200, "waiting", True)
        assert (await server.get(f"/runs/{root}")).body["paused"]["by"] == "otto"
        (pause,) = await store.pauses()
        assert pause.by == "otto"
        about = {"action": "resume", "filter": {"task": "ingest"}, "dry_run": True}
        preview = (await server.post("/actions", about, "operator")).body
        assert preview["count"] == 1
        assert (await server.post(f"/runs/{root}/resume", None, "operator")).body["done"]
        assert (await server.post("/actions", about, "operator")).body["count"] == 0
        assert "paused" not in (await server.get(f"/runs/{root}")).body
        await server.post(f"/runs/{root}/cancel", None, "operator")
        assert (await server.post(f"/runs/{root}/pause", None, "operator")).status == 409


async def test_retry_failures(settings: Settings, store: Store):
    """One tree; and all that a filter lets through: of what completed and has no failures nothing is done."""
    made, fine = await make(settings, LAX), await make(settings, FINE, number=2)
    root = id_text(made.root)
    async with desk(settings) as server:
        answer = await server.post(f"/runs/{root}/retry_failures", None, "operator")
        assert (answer.status, answer.body["done"], answer.body["state"]) == (200, True, "queued")
        assert await store.pauses() == []
        assert (await server.post(f"/runs/{root}/retry_failures", None, "operator")).status == 409
        done = await server.did("retry_failures", task="ingest", all=True)
        assert (done["count"], done["done"]) == (1, 0)
        assert (await store.get(fine.root)).state is RunState.COMPLETED


async def test_reprioritize(settings: Settings, store: Store):
    """One run, and all that a filter lets through, with the priority that was previewed."""
    made = await make(settings, OPEN)
    root = id_text(made.root)
    async with desk(settings) as server:
        assert (await server.post(f"/runs/{root}/reprioritize", {"priority": 5}, "viewer")).status == 403
        for wrong in ({}, {"priority": 2**31}, {"priority": 1.5}, {"priority": None}):
            assert (await server.post(f"/runs/{root}/reprioritize", wrong, "operator")).status == 422
        answer = await server.post(f"/runs/{root}/reprioritize", {"priority": 5}, "operator")
        assert (answer.status, answer.body["done"]) == (200, True)
        assert {run.priority for run in await store.children(made.root) if not run.state.is_terminal} == {5}
        about = {"action": "reprioritize", "filter": {"tree": root}, "dry_run": True}
        assert (await server.post("/actions", about, "operator")).status == 422
        assert (await server.post("/actions", {**about, "action": "pause", "priority": 1}, "operator")).status == 422
        preview = (await server.post("/actions", {**about, "priority": -2}, "operator")).body
        done = await server.ended(await server.confirmed(preview["token"], "operator"))
        assert (done["priority"], done["done"]) == (-2, preview["count"])
        assert (await store.get(made.root)).priority == -2


async def test_wake(settings: Settings):
    app = Fanwood(settings.database_url, local_worker=True)

    @app.task
    async def naps(input: dict, ctx: Context) -> str:
        await ctx.aio_sleep_for(3600)
        return "woken"

    ref = await naps.aio_run_no_wait({})
    async with asyncio.timeout(60):
        while not (children := await app.runs.aio_children(ref.id)):
            await asyncio.sleep(0.02)
    sleep = f"/runs/{children[0].id}/wake"
    async with desk(settings) as server:
        assert (await server.post(sleep, None, "viewer")).status == 403
        assert (await server.post(f"/runs/{ref.id}/wake")).body["code"] == "wrong_state"
        said = await server.post(sleep, None, "operator")
        assert (said.status, said.body["state"], said.body["done"]) == (200, "completed", True)
        assert await ref.aio_result(60) == "woken"
        assert (await server.post(sleep)).body == {"id": children[0].id, "state": "completed"}
    await app.aio_close()


async def test_patch(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    by_state = {run.state: id_text(run.id) for run in await store.children(made.root)}
    failed = by_state[RunState.FAILED]
    async with desk(settings) as server:
        assert (await server.post(f"/runs/{failed}/patch", {"output": {"n": 1}}, "viewer")).status == 403
        answer = await server.post(f"/runs/{failed}/patch", {"output": {"n": 1}}, "operator")
        assert (answer.status, answer.body["state"]) == (200, "completed")
        assert (await server.post(f"/runs/{failed}/patch", {}, "operator")).status == 422
    (line,) = await store.logs(id_bytes(failed))
    assert line.message.startswith("patched by otto; it was FAILED, with ")


async def test_fork(settings: Settings, store: Store):
    """Who may, with what, and how it is shown: on the page of either run."""
    made = await make(settings, ENDED)
    root, (child, *_) = id_text(made.root), await store.children(made.root)
    async with desk(settings) as server:
        assert (await server.post(f"/runs/{root}/fork", {}, "viewer")).status == 403
        for wrong in ({"at": 1}, {"where": root}, {"at": "nonsense"}, {"at": "0" * 32}):
            assert (await server.post(f"/runs/{root}/fork", wrong, "operator")).status in (404, 422)
        answer = await server.post(f"/runs/{root}/fork", {"at": id_text(child.id), "input": {"n": 7}}, "operator")
        assert answer.status == 201
        plain = await server.post(f"/runs/{root}/fork", {"input": {"n": 8}})
        detail = (await server.get(f"/runs/{answer.body['id']}")).body
        assert detail["fork"] == {
            "how": "fork", "of": root, "at": id_text(child.id), "changed": True, "by": "otto",
            "made_at": detail["run"]["created_at"],
        }  # fmt: skip
        assert (await server.get(f"/runs/{root}")).body["forks"] == [plain.body["id"], answer.body["id"]]
        refused = await server.post(f"/runs/{answer.body['id']}/fork", {}, "operator")
        assert (refused.status, refused.body["code"]) == (409, "wrong_state")
        assert (await server.post(f"/runs/{root}/fork", {"at": root}, "operator")).status == 409
    assert (await store.get(id_bytes(plain.body["id"]))).input == '{"n":8}'


async def test_fork_at_a_step(settings: Settings):
    """With another input of the workflow, which must be one."""
    async with Fanwood(settings.database_url, local_worker=True) as app:
        flow = app.workflow(name="flow", input_validator=int)

        @flow.task()
        async def first(input: int, ctx: Context) -> int:
            return input

        ref = await flow.aio_run_no_wait(1)
        assert await ref.aio_result(60) == {"first": 1}
        (step,) = await app.runs.aio_children(ref.id)
        async with desk(settings) as server:
            for wrong in ("x", {"input": 5}):
                answer = await server.post(f"/runs/{ref.id}/fork", {"at": step.id, "input": wrong})
                assert (answer.status, answer.body["code"]) == (422, "input_does_not_fit")
            answer = await server.post(f"/runs/{ref.id}/fork", {"at": step.id, "input": 5})
        assert await app.runs.aio_get_result(answer.body["id"], 60) == {"first": 5}
