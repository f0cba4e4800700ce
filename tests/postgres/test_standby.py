"""The pages on a real standby: what shows is read there, what decides is not, and nothing is ever written to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.trees import Level, Shape, make
from fanwood import Settings, SystemClock
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.server.app import create
from fanwood.server.options import Options
from fanwood.store.opening import store_for
from tests.postgres.cluster import Cluster
from tests.postgres.standby import Standby
from tests.server.asgi import Answer, Client

PATIENCE = 60.0
ENDED = Shape("ingest", (Level(3, ("parse",), 3, failed=1, cancelled=1),), state=RunState.FAILED)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Cluster, Standby]]:
    with Cluster() as primary:
        if not Standby.is_possible(primary):
            pytest.skip("pg_basebackup isn't installed")
        with Standby(primary) as standby:
            yield primary, standby


@pytest.fixture
def settings(pair: tuple[Cluster, Standby], request: pytest.FixtureRequest) -> Settings:
    """Of a database of the test's own, on the primary."""
    return Settings.load(database_url=pair[0].create_database(request.node.name))


@pytest.fixture
def standby(pair: tuple[Cluster, Standby]) -> Standby:
    return pair[1]


def name_of(settings: Settings) -> str:
    return settings.database_url.rpartition("/")[2]


async def grown(settings: Settings) -> bytes:
    """A schema, and a tree in it; its root."""
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    await store.close()
    return (await make(settings, ENDED)).root


async def until(ask: Any, is_it: Any) -> Answer:
    async with asyncio.timeout(PATIENCE):
        while not is_it(answer := await ask()):
            await asyncio.sleep(0.02)
    return answer


@pytest.mark.long
async def test_the_pages_on_a_standby(settings: Settings, standby: Standby):
    root = id_text(await grown(settings))
    reading = replace(settings, database_url=standby.url(name_of(settings)), notify=False)
    client = Client(create(settings, Options(token="x"), reading=reading), "x")

    async def get(path: str) -> Answer:
        return await client.ask(f"/api/v1/{path}")

    async def post(path: str, body: bytes = b"{}") -> Answer:
        return await client.ask(f"/api/v1/{path}", "POST", body=body)

    try:
        await until(lambda: get(f"runs/{root}"), lambda answer: answer.status == 200)
        failed = (await get(f"runs/{root}/members?state=failed")).json()["runs"][0]["id"]
        for path in (
            "trees", f"trees/{root}/view", f"trees/{root}/waterfall", f"trees/{root}/slowest", f"trees/{root}/members",
            f"trees/{root}/critical-path", f"trees/{root}/budget", f"runs/{root}", f"runs/{root}/children",
            f"runs/{root}/logs", f"runs/{root}/why", "failures", "search?q=ingest", "tasks", "workers", "actions",
            "events",
        ):  # fmt: skip
            assert (await get(path)).status == 200, path
        shown = (await get("store")).json()
        assert shown["replica"].endswith(f":{standby.port}/{name_of(settings)}")
        assert not [problem for problem in shown.get("problems", ()) if "standby" in problem]
        await until(lambda: get("store"), lambda answer: answer.json()["lag"] == 0)

        standby.pause()
        done = (await post(f"runs/{failed}/retry")).json()
        assert (done["state"], done["done"]) == ("queued", True)  # as the primary says
        assert (await post(f"runs/{failed}/retry")).status == 409  # also to who sees an older state
        assert (await get(f"runs/{failed}")).json()["run"]["state"] == "failed"
        assert (await get(f"runs/{failed}/why")).json()["state"] == "queued"
        (action,) = (await get("actions")).json()["actions"]
        assert action["action"] == "retry"
        await until(lambda: get("store"), lambda answer: answer.json()["lag"] > 0)
        standby.resume()
        await until(lambda: get(f"runs/{failed}"), lambda answer: answer.json()["run"]["state"] == "queued")
    finally:
        await client.app.close()


@pytest.mark.long
async def test_a_server_that_has_a_standby_only(settings: Settings, standby: Standby):
    """It shows, and says that nothing can be written there."""
    made = await grown(settings)
    alone = Settings.load(database_url=standby.url(name_of(settings)), outage_patience=1.0)
    client = Client(create(alone, Options(token="x")), "x")
    try:
        root = f"/api/v1/runs/{id_text(made)}"
        await until(lambda: client.ask(root), lambda answer: answer.status == 200)
        assert (await client.ask("/api/v1/store")).json()["problems"] == [
            "this server is a standby: nothing can be written to it"
        ]
        async with asyncio.timeout(PATIENCE):
            refused = await client.ask(f"{root}/retry", "POST", body=b"{}")
        assert (refused.status, refused.code) == (503, "store_unavailable")  # a primary may answer there again
    finally:
        await client.app.close()
