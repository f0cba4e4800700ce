"""Actions on all runs that a filter lets through: previewed, confirmed once, done once, seen by whom they concern."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.trees import Level, Shape, make, wide
from fanwood import Settings
from fanwood.ids import id_bytes, id_text
from fanwood.model.states import RunState
from fanwood.server import deeds, previews
from fanwood.server.choosing import ActionFilter, Wanted, page
from fanwood.store.store import Store
from tests.server.desk import PATIENCE, desk

SMALL = replace(wide(401, failed=60, cancelled=9, running=0), state=RunState.COMPLETED)
ENDED = Shape("ingest", (Level(5, ("parse",), 5, failed=1),), state=RunState.FAILED)
OPEN = Shape("ingest", (Level(30, ("parse",), 0),), state=RunState.WAITING)


async def counts(store: Store, root: bytes) -> dict[RunState, int]:
    found: dict[RunState, int] = {}
    for count in await store.tree_counts(root):
        found[count.state] = found.get(count.state, 0) + count.count
    return found


async def test_retry_all_that_match(settings: Settings, store: Store):
    made = await make(settings, SMALL)
    async with desk(settings) as server:
        preview = await server.previewed("retry", tree=id_text(made.root))
        assert (preview["count"], len(preview["sample"]), "at_least" in preview) == (60, 10, False)
        assert {run["state"] for run in preview["sample"]} == {"failed"}
        assert (await counts(store, made.root))[RunState.FAILED] == 60, "a preview does nothing"
        done = await server.ended(await server.confirmed(preview["token"]))

    told = (done["state"], done["action"], done["by"], done["count"], done["seen"], done["done"])
    assert told == ("completed", "retry", "ada", 60, 60, 60)
    assert done["filter"] == {"tree": id_text(made.root)}
    now = await counts(store, made.root)
    assert (RunState.FAILED not in now, now[RunState.QUEUED], now[RunState.CANCELLED]) == (True, 20 + 60, 9)


async def test_whatever_a_filter_says(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(previews, "PAGE", 37)
    monkeypatch.setattr(previews, "SECONDS", PATIENCE)
    made, other = await make(settings, SMALL), await make(settings, ENDED, namespace="shop", number=5)
    tree, failed = id_text(made.root), await store.tree_failures(made.root, None, 1000)
    ids = [id_text(run.id) for run in failed if "ValueError" in (run.error or "")]
    async with desk(settings) as server:

        async def count(action: str = "retry", **filter_: Any) -> int:
            return (await server.previewed(action, **filter_))["count"]

        assert await count(tree=tree, state="cancelled") == 9
        assert await count("replay", tree=tree) == 381
        assert await count("replay", tree=tree, task="index", state="completed") < 60
        assert await count("cancel", tree=tree) == 20
        assert await count("cancel", tree=tree, task="index") == 2
        assert await count(parent=tree) == 60
        assert await count(parent=tree, state="cancelled") == 9
        assert await count("replay", parent=tree) == 380
        assert await count(parent=id_text(failed[0].id)) == 0
        by_path = [await count(tree=tree, path=["ingest", task]) for task in ("parse", "index")]
        assert (sum(by_path), min(by_path) > 0, await count(tree=tree, path=["ingest"])) == (60, True, 60)
        assert await count("replay", tree=tree, path=["ingest"]) == 381
        assert await count(tree=tree, path=["parse"]) == await count(tree=tree, path=["ingest", "x"]) == 0
        assert await count(ids=ids) == 20
        assert await count(all=True, state="failed") == 62
        assert await count(all=True, state="failed", task="shop/parse") == 1
        assert await count(task="shop/ingest") == 1
        assert await count("delete", state="completed") == 1
        assert await count("delete", task="shop/ingest") == 1
        assert await count("delete", all=True, task="shop/parse") == 0, "whole trees are deleted"
        middle = made.end - 60_000
        parts = [await count(tree=tree, until=middle), await count(tree=tree, since=middle)]
        assert sum(parts) == 60
        assert min(parts) > 0
        first = (await server.get(f"/runs/{ids[0]}")).body["run"]["error"]
        assert first["type"] == "ValueError"
    assert (await store.get(other.root)).state is RunState.FAILED


async def test_what_a_filter_may_not_say(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    tree = id_text(made.root)
    async with desk(settings) as server:

        async def refused(body: object) -> tuple[int, str]:
            answer = await server.post("/actions", body)
            return answer.status, answer.body["code"]

        def asking(action: str = "retry", **filter_: object) -> dict[str, object]:
            return {"action": action, "filter": filter_, "dry_run": True}

        assert await refused({}) == (422, "bad_body")
        assert await refused({"action": "retry", "filter": {"tree": tree}}) == (422, "preview_first")
        assert await refused({"token": "x", "action": "retry"}) == (422, "bad_body")
        assert await refused({"token": "x"}) == (410, "token_unknown")
        assert await refused(asking()) == (422, "no_filter")
        assert await refused(asking(all=True)) == (422, "no_filter")
        assert await refused(asking(tree=tree, parent=tree)) == (422, "bad_filter")
        assert await refused(asking(tree=tree, state="running")) == (422, "bad_filter")
        assert await refused(asking(tree=tree, nonsense=1)) == (422, "bad_body")
        assert await refused(asking(action="explode", tree=tree)) == (422, "bad_body")
        assert await refused(asking(ids=["nobody"])) == (404, "run_not_found")
        assert await refused(asking(tree="0" * 32)) == (404, "run_not_found")


async def test_a_token_confirms_once_and_only_for_who_has_previewed(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    async with desk(settings) as server:
        token = (await server.previewed("retry", "operator", tree=id_text(made.root)))["token"]
        others = await server.post("/actions", {"token": token}, "admin")
        assert (others.status, others.body["code"]) == (410, "token_unknown")
        ids = await asyncio.gather(*(server.confirmed(token, "operator") for _ in range(5)))
        await server.ended(ids[0])
        assert {*ids, await server.confirmed(token, "operator")} == {ids[0]}
        assert len((await server.get("/actions")).body["actions"]) == 1
    async with desk(settings) as another:
        assert (await another.post("/actions", {"token": token}, "operator")).status == 410


async def test_an_old_preview_is_none(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch):
    made = await make(settings, ENDED)
    monkeypatch.setattr(previews, "LIFE", -1)
    async with desk(settings) as server:
        token = (await server.previewed("retry", tree=id_text(made.root)))["token"]
        assert (await server.post("/actions", {"token": token})).status == 410


async def test_a_page_of_a_family_is_a_segment_of_it(settings: Settings, store: Store):
    """Also where nothing of it fits: who asks may have had enough by then."""
    made = await make(settings, wide(4_500, failed=0))
    wanted, after = Wanted("replay", ActionFilter(parent=id_text(made.root), state="cancelled")), ""
    for is_last in (False, True):
        seen = await page(store, wanted, after)
        assert not seen.runs
        assert (seen.after is None) == is_last
        after = seen.after or ""


async def test_what_comes_after_the_preview_is_not_meant(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(previews, "SECONDS", PATIENCE)  # whatever the machine does beside
    before = await make(settings, OPEN)
    async with desk(settings) as server:
        preview = await server.previewed("cancel", task="ingest")
        after = await make(settings, replace(OPEN, pace=-1_000_000), number=9)
        assert (await store.get(after.root)).created_at > (await store.get(before.root)).created_at + 1_000_000
        done = await server.ended(await server.confirmed(preview["token"]))
    assert (preview["count"], done["done"]) == (1, 1)
    assert (await store.get(before.root)).state is RunState.CANCELLED
    assert (await store.get(after.root)).state is RunState.WAITING


async def test_cancel_ends_trees_and_delete_removes_them(settings: Settings, store: Store):
    made, kept = await make(settings, OPEN), await make(settings, replace(OPEN, root="other"), number=3)
    async with desk(settings) as server:
        cancelled = await server.did("cancel", task="ingest")
        assert cancelled["done"] == 1
        assert (await counts(store, made.root)) == {RunState.CANCELLED: 31}
        deleted = await server.did("delete", task="ingest")
        assert (deleted["done"], deleted["state"]) == (1, "completed")
        assert (await server.get(f"/runs/{id_text(made.root)}")).status == 404
    assert (await counts(store, kept.root)) == {RunState.QUEUED: 30, RunState.WAITING: 1}


@pytest.mark.long
async def test_ten_thousand(settings: Settings, store: Store):
    made = await make(settings, replace(wide(20_001, failed=10_000, running=0), state=RunState.COMPLETED))
    async with desk(settings) as server:
        preview = await server.previewed("retry", all=True, state="failed")
        assert preview["count"] == 10_000 or preview["at_least"]
        assert preview["count"] <= 10_000
    assert made.shape.runs == 20_001


async def test_page_after_page(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deeds, "PAGE", 13)
    made = await make(settings, SMALL)
    async with desk(settings) as server:
        done = await server.did("retry", tree=id_text(made.root), state="failed")
        assert (done["count"], done["seen"], done["done"], done["left"]) == (60, 60, 60, 0)
        children = await store.child_counts(bytes.fromhex(done["id"].replace("-", "")))
    assert {count.task: count.count for count in children} == {"fanwood.actions/find": 5, "fanwood.actions/piece": 5}


async def test_an_action_can_be_cancelled(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deeds, "SLICE", 10)
    made = await make(settings, SMALL)
    begun, go_on, do = asyncio.Event(), asyncio.Event(), deeds._do
    loop = asyncio.get_running_loop()

    async def held(store: Store, **about: object) -> int:
        done = await do(store, **about)  # pyright: ignore[reportArgumentType]
        loop.call_soon_threadsafe(begun.set)
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        return done

    monkeypatch.setattr(deeds, "_do", held)
    async with desk(settings) as server:
        token = (await server.previewed("retry", "operator", tree=id_text(made.root)))["token"]
        action = await server.confirmed(token, "operator")
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        answer = await server.post(f"/runs/{action}/cancel", None, "operator")
        go_on.set()
        assert (answer.status, answer.body["state"]) == (200, "cancelled"), answer
        ended = await server.ended(action)
    assert ended["state"] == "cancelled"


async def test_each_acts_in_its_own_namespace(settings: Settings, store: Store):
    ours, theirs = await make(settings, ENDED, namespace="shop"), await make(settings, ENDED, number=8)
    async with desk(settings) as server:
        assert (await server.previewed("retry", "shop", all=True, state="failed"))["count"] == 2
        for body in ({"tree": id_text(theirs.root)}, {"parent": id_text(theirs.root)}):
            asked = {"action": "retry", "filter": body, "dry_run": True}
            assert (await server.post("/actions", asked, "shop")).status == 404
        assert (await server.previewed("retry", "shop", ids=[id_text(theirs.root)]))["count"] == 0
        assert (await server.post(f"/runs/{id_text(theirs.root)}/retry", None, "shop")).status == 404
        theirs_done = await server.did("retry", tree=id_text(theirs.root))
        done = await server.did("retry", "shop", tree=id_text(ours.root))
        assert done["namespace"] == "shop"
        seen = (await server.get("/actions", "shop")).body["actions"]
        assert [each["id"] for each in seen] == [done["id"]]
        assert (await server.post(f"/runs/{theirs_done['id']}/cancel", None, "shop")).status == 404
        assert len((await server.get("/actions")).body["actions"]) == 2


async def test_who_may_and_who_may_not(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    asked = {"action": "retry", "filter": {"tree": id_text(made.root)}, "dry_run": True}
    async with desk(settings) as server:
        for path, body in (("/actions", asked), (f"/runs/{id_text(made.root)}/retry", None)):
            answer = await server.post(path, body, "viewer")
            assert (answer.status, answer.body["code"]) == (403, "not_allowed")
        assert (await server.get("/actions", "viewer")).status == 200
        assert (await server.post("/actions", {**asked, "action": "delete"}, "operator")).status == 403
    async with desk(settings, read_only=True) as server:
        answer = await server.post("/actions", asked)
        assert (answer.status, answer.body["code"]) == (403, "read_only")
        assert (await server.get("/actions")).status == 200


async def test_nobody_is_there_once_nothing_is_to_be_done(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    async with desk(settings, idle=0.0) as server:
        assert await store.workers() == []
        await server.did("retry", tree=id_text(made.root))
        hands = server.application.site.hands
        async with asyncio.timeout(PATIENCE):
            while hands.is_open:
                await asyncio.sleep(0.01)
        assert await store.workers() == []
        await server.did("retry", ids=[id_text(made.root)])  # (it is queued: there is nothing to be done)


async def test_what_a_server_has_left_is_gone_on_with_by_whoever_looks(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
):
    made, called = await make(settings, SMALL), deeds.called
    hangs, loop, calls = asyncio.Event(), asyncio.get_running_loop(), itertools.count()

    async def hanging(future: object) -> object:
        if next(calls) == 0:  # it finds them, and does nothing to them
            return await called(future)  # pyright: ignore[reportArgumentType]
        loop.call_soon_threadsafe(hangs.set)
        return await asyncio.Event().wait()

    async with desk(settings) as idle:
        monkeypatch.setattr(deeds, "called", hanging)
        async with desk(settings) as server:
            token = (await server.previewed("retry", tree=id_text(made.root)))["token"]
            action = await server.confirmed(token)
            async with asyncio.timeout(PATIENCE):
                await hangs.wait()
            monkeypatch.setattr(deeds, "called", called)
        assert not idle.application.site.hands.is_open
        done = await idle.ended(action)
    assert (done["state"], done["done"]) == ("completed", 60)


async def test_nobody_gives_an_action_another_input_or_output(settings: Settings, store: Store):
    """An operator may not delete, and nobody may act in another namespace: neither by way of a fork of an action."""
    ours, theirs = await make(settings, ENDED, namespace="shop"), await make(settings, ENDED, number=8)
    async with desk(settings) as server:
        for who, root in (("operator", theirs.root), ("shop", ours.root)):
            done = await server.did("retry", who, tree=id_text(root))
            wanted = {"action": "delete", "filter": {"all": True, "task": "ingest"}, "namespace": ""}
            other = {"input": {"wanted": wanted, "by": who, "count": 1}}
            for of, body in (("fork", {}), ("fork", other), ("patch", {"output": {"done": "many"}})):
                assert (await server.post(f"/runs/{done['id']}/{of}", body, who)).status == 404
            fork = await server.post(f"/runs/{id_text(root)}/fork", {"at": done["id"]}, who)
            assert fork.status == 404
        assert len((await server.get("/actions")).body["actions"]) == 2


async def test_an_action_that_can_t_be_read_hides_no_others(settings: Settings, store: Store):
    made = await make(settings, ENDED)
    async with desk(settings) as server:
        done = await server.did("retry", tree=id_text(made.root))
        await store.patch(id_bytes(done["id"]), '{"done":"many"}', "somebody")
        await server.did("retry", tree=id_text(made.root))
        told = (await server.get("/actions")).body["actions"]
    assert [each["action"] for each in told] == ["retry", "unknown"]


async def test_what_a_filter_names_is_for_who_may_see_it(settings: Settings, store: Store):
    """Metadata is a payload."""
    async with desk(settings) as server:
        await server.did("retry", metadata={"customer": "acme", "token": "t-123"})
        (told,) = (await server.get("/actions", "operator")).body["actions"]
        assert told["filter"]["metadata"] == {"customer": "acme", "token": "(masked)"}
        (told,) = (await server.get("/actions", "viewer")).body["actions"]
        assert "metadata" not in told["filter"]
