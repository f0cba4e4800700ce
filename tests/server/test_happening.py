"""Events over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest

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
        again = await server.post("/events", {"key": "paid", "payload": {"n": 1}, "scope": "s", "id": "e"}, "operator")
        assert (again.status, again.body["was_there"]) == (201, True)
        assert "was_there" not in pushed.body
        assert (await server.get(f"/events?since={one.body['created_at']}&key=paid")).body != []
        assert (await server.get(f"/events?since={1 << 52}")).body == []
        bound = await server.get("/events", "shop")
        assert (bound.status, "is of no namespace" in bound.body["title"]) == (403, True)
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


@pytest.mark.parametrize(
    "id_",
    ["a\\b", "a\nb", "a\n", "\n", "../../trees", "a/../b", "/", "a//b", "%2e", "\x7f", "\u202e", "?#%", "ü "],
)
async def test_an_event_is_found_by_whatever_its_id_is(settings: Settings, id_: str) -> None:
    async with desk(settings) as server:
        assert (await server.post("/events", {"key": "paid", "payload": {"n": 1}, "id": id_}, "operator")).status == 201
        assert (await server.post("/events", {"key": "paid", "id": id_.strip() + "x"}, "operator")).status == 201
        path = quote(id_, safe="")
        assert (await server.get(f"/events/{path}")).body["id"] == id_
        part = await server.get(f"/event-payloads/payload/{path}")
        assert (part.status, part.body["text"]) == (200, '{"n":1}')
        refused = await server.post("/events", {"key": "paid", "id": ".."}, "operator")
        assert (refused.status, "no URL" in refused.body["title"] + refused.body.get("detail", "")) == (422, True)


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


async def test_events_in_brief_say_how_their_payloads_begin(settings: Settings, store: Store) -> None:
    payload = {"token": "t" * 20, "text": "x" * 150_000}
    async with desk(settings) as server:
        await server.post("/events", {"key": "k", "id": "a/b", "payload": payload, "metadata": {"by": "ann"}})
        (listed,) = (await server.get("/events?brief=true")).body
        one = (await server.get("/events/a%2Fb?brief=true")).body
        assert listed == one
        assert ("payload" in listed, listed["metadata"]) == (False, {"by": "ann"})
        assert listed["preview"].startswith('{"token":"(masked)"')
        assert len(listed["preview"]) < 250
        hidden = (await server.get("/events?brief=true", "viewer")).body[0]
        assert ("preview" in hidden, "metadata" in hidden) == (False, False)


async def test_a_payload_of_an_event_comes_in_parts(settings: Settings, store: Store) -> None:
    payload = {"token": "t" * 20, "text": "x" * 150_000, "number": 9007199254740993}
    async with desk(settings) as server:
        await server.post("/events", {"key": "k", "id": "a/b", "payload": payload, "metadata": {"by": "ann"}})
        text, next_, offsets = "", 0, list[int]()
        while next_ is not None:
            offsets.append(next_)
            part = (await server.get(f"/event-payloads/payload/a%2Fb?offset={next_}")).body
            text, next_ = text + part["text"], part.get("next")
            assert (part["is_masked"], part["size"]) == (True, 150_000 + 56)
        assert (len(offsets), len(text)) == (3, 150_000 + 56)
        assert text.endswith('x","number":9007199254740993}')
        told = (await server.get("/event-payloads/metadata/a%2Fb")).body
        assert told["text"] == '{"by":"ann"}'
        await server.post("/events", {"key": "k", "id": "c"})
        assert (await server.get("/event-payloads/metadata/c")).body == {"is_missing": True}
        assert (await server.get("/event-payloads/payload/no")).status == 404
        assert (await server.get("/event-payloads/digest/c")).status == 404
        assert (await server.get("/event-payloads/payload/c", "viewer")).status == 403
