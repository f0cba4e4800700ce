"""Events over HTTP."""

from __future__ import annotations

from fanwood import Settings
from fanwood.store.store import Store
from tests.server.desk import desk


async def test_events_are_pushed_and_looked_at(settings: Settings, store: Store) -> None:
    async with desk(settings) as server:
        pushed = await server.post("/events", {"key": "paid", "payload": {"n": 1}, "scope": "s", "id": "e"}, "operator")
        assert (pushed.status, pushed.body["id"], pushed.body["payload"]) == (201, "e", {"n": 1})
        taken = await server.post("/events", {"key": "paid", "payload": {"n": 2}, "scope": "s", "id": "e"})
        assert (taken.status, taken.body["code"]) == (409, "event_conflict")
        assert (await server.post("/events", {"key": "unpaid"}, "viewer")).status == 403
        assert (await server.post("/events", {"key": "unpaid"}, "shop")).status == 403
        assert (await server.post("/events", {"key": ""})).status == 422
        assert (await server.post("/events", {"key": "unpaid"})).status == 201
        listed = (await server.get("/events")).body
        assert [event["key"] for event in listed] == ["unpaid", "paid"]
        assert [event["id"] for event in (await server.get("/events?key=paid&scope=s")).body] == ["e"]
        assert [event["id"] for event in (await server.get(f"/events?after={listed[0]['id']}")).body] == ["e"]
        one = await server.get("/events/e", "operator")
        assert (one.status, one.body["key"]) == (200, "paid")
        lost = await server.get("/events/nothing")
        assert (lost.status, lost.body["code"]) == (404, "event_not_found")
        many = await server.post(
            "/events/bulk", {"events": [{"key": "paid", "id": "a/b?c"}, {"key": "paid"}]}, "operator"
        )
        assert (many.status, [event["key"] for event in many.body]) == (201, ["paid", "paid"])
        assert (await server.get("/events/a%2Fb%3Fc")).body["id"] == "a/b?c"
        half = await server.post("/events/bulk", {"events": [{"key": "new"}, {"key": "other", "id": "e"}]})
        assert (half.status, (await server.get("/events?key=new")).body) == (409, [])
        assert (await server.post("/events/bulk", {"events": []})).status == 422
        assert (await server.post("/events/bulk", {"events": [{"key": "new"}]}, "viewer")).status == 403
    assert (await store.event("e")) is not None


async def test_what_is_named_as_a_secret_in_an_event_is_for_nobody_s_eyes(settings: Settings, store: Store) -> None:
    event = {
        "key": "k",
        "id": "e",
        "payload": {"password": "hunter2", "n": [{"token": "t"}]},
        "metadata": {"api_key": "k"},
    }
    masked = ({"password": "(masked)", "n": [{"token": "(masked)"}]}, {"api_key": "(masked)"})
    async with desk(settings) as server:
        for answer in (await server.post("/events", event), await server.get("/events/e")):
            assert (answer.body["payload"], answer.body["metadata"]) == masked
        (listed,) = (await server.get("/events")).body
        assert (listed["payload"], listed["metadata"]) == masked
    kept = await store.event("e")
    assert kept is not None
    assert '"hunter2"' in kept.payload


async def test_a_list_of_large_events_comes_in_parts(settings: Settings, store: Store, monkeypatch) -> None:
    monkeypatch.setattr("fanwood.server.happening.ANSWER", 2_000)
    monkeypatch.setattr("fanwood.server.happening.AT_ONCE", 2)
    async with desk(settings) as server:
        for number in range(7):
            await server.post("/events", {"key": "k", "id": str(number), "payload": "x" * 400})
        found = (await server.get("/events")).body
        assert [event["id"] for event in found] == ["6", "5", "4", "3", "2", "1"]
        assert [event["id"] for event in (await server.get("/events?after=1")).body] == ["0"]
        assert len((await server.get("/events?limit=3")).body) == 3
