"""What the routes show, over a small world; and that nobody sees what is another namespace's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fanwood import Settings, SystemClock
from fanwood.server.app import create
from fanwood.server.options import Options
from fanwood.server.routes import ROUTES
from fanwood.store.opening import store_for
from tests.server.asgi import Client
from tests.server.conftest import BOUND, Make, World

EVERY_RUN = ["", "/children", "/members", "/payload/input", "/payload/metadata", "/logs", "/why"]
EVERY_TREE = ["/view", "/budget", "/slowest", "/critical-path", "/waterfall"]


async def json(client: Client, path: str):
    answer = await client.ask(f"/api/v1/{path}")
    assert answer.status == 200, answer
    return answer.json()


async def whole(client: Client, root: str):
    """The picture of a tree, which fills in while it is read: on a busy machine in more than one answer."""
    while (view := await json(client, f"trees/{root}/view"))["done"] < 1:
        pass
    return view


async def test_trees(client: Client, world: World):
    page = await json(client, "trees")
    assert [run["id"] for run in page["runs"]] == [world.bank[0], world.shop[0]]
    assert page["counts"][world.shop[0]] == {"running": 1, "completed": 1, "failed": 1}
    first = await json(client, "trees?limit=1")
    rest = await json(client, f"trees?limit=1&after={first['after']}")
    assert [first["runs"][0]["id"], rest["runs"][0]["id"]] == [world.bank[0], world.shop[0]]
    for query, found in {
        "task=shop/order": 1, "state=running": 2, "state=failed": 0, "q=bank": 1, 'metadata={"of":"shop"}': 1,
        'metadata={"of":"x"}': 0, "since=9007199254740992": 0, "until=0": 0,
    }.items():  # fmt: skip
        assert len((await json(client, f"trees?{query}")).get("runs", [])) == found, query


async def test_a_run(client: Client, world: World):
    root, failed, done = world.shop
    run = await json(client, f"runs/{failed}")
    assert run["run"]["state"] == "failed"
    assert [above["id"] for above in run["ancestors"]] == [root]
    assert [beside["id"] for beside in run["after"]] == [done]
    assert run["error"]["type"] == "ValueError"
    assert (await json(client, f"runs/{root}/children"))["runs"][0]["id"] == failed
    assert [one["id"] for one in (await json(client, f"runs/{root}/members?state=completed"))["runs"]] == [done]
    assert (await json(client, f"runs/{failed}/why"))["cause"] == "failed"
    logs = await json(client, f"runs/{root}/logs")
    assert [line["seq"] for line in logs["lines"]] == [0]
    assert await json(client, f"runs/{root}/logs?after={logs['after']}") == {"after": 0}


async def test_a_tree(client: Client, world: World):
    root, failed, done = world.shop
    view = await whole(client, root)
    assert view["counts"] == {"running": 1, "completed": 1, "failed": 1}
    [cluster] = view["clusters"]
    assert [one["id"] for one in (await json(client, f"runs/{root}/members?cluster={cluster['key']}"))["runs"]] == [
        failed
    ]
    assert {one["id"] for one in (await json(client, f"trees/{root}/slowest"))["runs"]} == {failed, done}
    assert (await json(client, f"trees/{root}/critical-path"))[0]["run"]["id"] == root
    assert (await json(client, f"trees/{root}/waterfall?focus={failed}"))["lanes"]
    assert (await json(client, f"trees/{root}/view?task=shop/item&state=failed"))["counts"] == {"failed": 1}
    assert (await client.ask(f"/api/v1/trees/{failed}/view")).code == "run_not_found"  # it is no root


async def test_that_a_picture_that_has_not_changed_is_not_sent_again(client: Client, world: World):
    path = f"/api/v1/trees/{world.shop[0]}/view"
    await whole(client, world.shop[0])
    tag = (await client.ask(path)).headers["etag"]
    again = await client.ask(path, more=[("if-none-match", tag)])
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert (await client.ask(path, more=[("if-none-match", '"x"')])).status == 200


async def test_that_all_who_look_share_a_lens(make: Make, world: World):
    client = make()
    await whole(client, world.shop[0])
    tasks = [json(client, f"trees/{world.shop[0]}/view") for _ in range(8)]
    views = await asyncio.gather(*tasks)
    assert len({view["version"] for view in views}) == 1


async def test_failures_search_tasks_workers_store(client: Client, world: World):
    assert sum(cluster["count"] for cluster in await json(client, "failures")) == 2
    assert await json(client, "failures?since=0&until=1") == []
    assert [one["id"] for one in (await json(client, f"search?q={world.shop[1][-12:]}"))["runs"]] == [world.shop[1]]
    assert len((await json(client, "search?q=refused by bank"))["runs"]) == 1
    assert [task["name"] for task in (await json(client, "tasks"))["tasks"]] == [
        "bank/item", "bank/order", "shop/item", "shop/order",
    ]  # fmt: skip
    assert (await json(client, "tasks/shop/item"))["description"] == "item of shop"
    assert (await client.ask("/api/v1/tasks/shop/none")).code == "unknown_task"
    assert [worker["name"] for worker in (await json(client, "workers"))["workers"]] == [
        "worker of shop",
        "worker of bank",
    ]
    assert (await json(client, "store"))["kind"] == "SQLite"


# --- namespaces ------------------------------------------------------------------------------------------------------


async def test_that_one_namespace_does_not_see_another(make: Make, world: World):
    them = Client(make().app, BOUND)
    for path in [f"runs/{id_}{what}" for id_ in world.bank for what in EVERY_RUN]:
        theirs = await them.ask(f"/api/v1/{path}")
        missing = await them.ask(f"/api/v1/{path.replace(path[5:41], '0' * 32)}")
        assert theirs.status == 404
        assert theirs.body == missing.body
    for what in EVERY_TREE:
        theirs = await them.ask(f"/api/v1/trees/{world.bank[0]}{what}")
        assert (theirs.status, theirs.code) == (404, "run_not_found")
    lists = [
        "trees",
        "trees?task=bank/order",
        "trees?q=bank",
        "trees?state=running",
        "failures",
        "tasks",
        "workers",
        "me",
    ]
    searches = [f"search?q={text}" for text in ("bank", world.bank[0], world.bank[1][-8:])]
    for path in [*lists, *searches, "me", f"trees/{world.shop[0]}/waterfall?focus={world.bank[1]}"]:
        answer = await them.ask(f"/api/v1/{path}")
        assert answer.status in (200, 404), (path, answer)
        for secret in [b"bank", *(id_.encode() for id_ in world.bank)]:
            assert secret not in answer.body, (path, answer)
    assert (await them.ask("/api/v1/tasks/bank/item")).code == "unknown_task"
    assert (await them.ask("/api/v1/store")).code == "not_allowed"


async def test_that_one_namespace_sees_its_own(make: Make, world: World):
    client = make()
    them = Client(client.app, BOUND)
    for path in [
        *(f"runs/{id_}{what}" for id_ in world.shop for what in EVERY_RUN),
        *(f"trees/{world.shop[0]}{what}" for what in EVERY_TREE),
        f"search?q={world.shop[1]}",
    ]:
        mine, all_ = await json(them, path), await json(client, path)
        for view in (mine, all_):
            if isinstance(view, dict):
                view.pop("as_of", None)
        if not path.endswith(("why", "critical-path", "waterfall")):  # which say how long it takes
            assert mine == all_, path
    assert [run["id"] for run in (await json(them, "trees"))["runs"]] == [world.shop[0]]
    assert [task["name"] for task in (await json(them, "tasks"))["tasks"]] == ["shop/item", "shop/order"]
    assert [worker["name"] for worker in (await json(them, "workers"))["workers"]] == ["worker of shop"]
    assert sum(cluster["count"] for cluster in await json(them, "failures")) == 1


async def test_that_a_server_can_be_bound_as_a_whole(make: Make, world: World):
    client = make(namespace="shop")
    assert [run["id"] for run in (await json(client, "trees"))["runs"]] == [world.shop[0]]
    assert (await client.ask(f"/api/v1/runs/{world.bank[0]}")).status == 404


async def test_that_verbs_that_nobody_thought_of_are_refused(make: Make, world: World):
    site = make().app.site
    from fanwood.server.identity import Identity, Role

    for verb in ("cancel", "replay", "prune", "copy_out", "commit", "report", "anything"):
        with pytest.raises(AttributeError, match="bound to a namespace"):
            await site.ask(Identity("x", Role.ADMIN, "shop"), lambda store, verb=verb: getattr(store, verb)())


# --- nothing is asked while nobody looks ----------------------------------------------------------------------------


def test_that_routes_say_what_they_are_for():
    for route in ROUTES:
        assert (route.handler.__doc__ or "").strip(), route.path
        assert route.answer is None or msgspec.json.schema(route.answer)


async def test_that_the_store_is_opened_when_first_asked_and_for_looking_only(make: Make, world: World):
    client = make()
    reader = client.app.site.reader
    await client.ask("/")
    await client.ask("/healthz")
    assert reader._thread is None
    await json(client, "trees")
    assert type(reader._store).__name__ == "LookingStore"


async def filled(settings: Settings) -> None:
    """With nothing but its schema."""
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    await store.close()


@pytest.mark.parametrize("path", ["trees", "workers", "store", "tasks", "failures", "search?q=aaaa"])
async def test_a_store_without_anything(make: Make, tmp_path: Path, path: str):
    url = f"sqlite:///{tmp_path}/new.db"
    await filled(Settings.load(database_url=url))
    assert (await make(url).ask(f"/api/v1/{path}")).status == 200


async def test_that_what_only_shows_is_read_from_a_replica(world: World, tmp_path: Path):
    """Here another file plays one, that has heard of nothing yet."""
    primary, replica = Settings.load(database_url=world.url), Settings.load(database_url=f"sqlite:///{tmp_path}/r.db")
    await filled(replica)
    client = Client(create(primary, Options(token="x"), reading=replica), "x")
    assert "runs" not in await json(client, "trees")
    assert (await client.ask(f"/api/v1/runs/{world.shop[0]}")).status == 404
    assert (await json(client, f"runs/{world.shop[0]}/why"))["state"] == "running"
    await client.app.close()
