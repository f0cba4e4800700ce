"""Events are read, narrowed and pushed on their page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from queue import Queue

import msgspec
import pytest
from playwright.async_api import expect

from fanwood import Context, Fanwood, PushEvent
from fanwood.server.identity import Token, digest
from tests.browser.conftest import Open, Serve
from tests.browser.driving import go, go_to, hindrances, settled
from tests.browser.hostile import MARKS, PAYLOADS, hostile
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE = 60
LONG = 9007199254740993
"""More than a browser's numbers hold."""


async def test_an_event_is_pushed_and_found(opened: Open, serve: Serve, tmp_path: Path):
    url, waiting = f"sqlite:///{tmp_path}/events.db", Queue[int]()
    app = Fanwood(url, local_worker=True)

    @app.task
    async def ship(order: int, ctx: Context) -> dict:
        waiting.put(order)
        return await ctx.aio_wait_for_event("order:paid", match={"order": order}, scope="77")

    await app.events.aio_push("order:placed", {"order": LONG})
    try:
        ref = await ship.aio_run_no_wait(LONG)
        await asyncio.to_thread(waiting.get, timeout=PATIENCE)
        page = await opened(serve(url), "/events?key=order%3Apaid")
        await expect(page.locator("main")).to_contain_text("No event fits these filters")
        await page.keyboard.press("p")
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_label("Key")).to_have_value("order:paid")
        await dialog.get_by_text("Id, metadata").click()
        await dialog.get_by_label("Scope").fill("77")
        await dialog.get_by_label("Payload").fill('{"order": ')
        await dialog.get_by_label("Metadata").fill("[]")
        await dialog.get_by_role("button", name="Push it").click()
        await expect(dialog.get_by_label("Payload")).to_be_focused()
        await expect(dialog).to_contain_text("That is no JSON")
        await expect(dialog).to_contain_text("It must be an object")
        await dialog.get_by_label("Payload").fill(f'{{"order": {LONG}, "password": "hunter2"}}')
        await dialog.get_by_label("Metadata").fill('{"by": "ann"}')
        await dialog.get_by_label("Id").fill("payment/4711")
        await dialog.get_by_role("button", name="Push it").click()
        await expect(page.get_by_text("Pushed order:paid")).to_be_visible()
        row = page.locator("tbody tr")
        await expect(row).to_have_count(1)
        for text in ("order:paid", "77", str(LONG), "by=ann"):
            await expect(row).to_contain_text(text)
        assert (await ref.aio_result(PATIENCE))["order"] == LONG

        await row.get_by_role("link").click()
        await expect(page.locator("h1")).to_have_text("order:paid")
        payload = page.get_by_role("region", name="Payload")
        await expect(payload.last).to_contain_text("(masked)")
        await page.get_by_role("button", name="As text").first.click()
        await expect(payload.last).to_contain_text(str(LONG))
        await expect(page.get_by_role("complementary")).to_contain_text("payment/4711")
        assert "hunter2" not in await page.locator("body").inner_text()
    finally:
        await app.aio_close()


@pytest.mark.long
async def test_an_id_that_is_there_is_said(opened: Open, serve: Serve, tmp_path: Path, watch):
    watch.expect("409")
    url = f"sqlite:///{tmp_path}/events.db"
    app = Fanwood(url, local_worker=False)
    await app.events.aio_push("paid", {"n": 1}, id="e")
    await app.aio_close()
    page = await opened(serve(url), "/events")
    for payload in ('{"n": 1}', '{"n": 2}'):
        await page.get_by_role("button", name="Push an event").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Push it").click()
        await expect(dialog.get_by_label("Key")).to_be_focused()
        await dialog.get_by_text("Id, metadata").click()
        for name, text in (("Key", "paid"), ("Id", "e"), ("Payload", payload)):
            await dialog.get_by_label(name).fill(text)
        assert await hindrances(page) == []
        await dialog.get_by_role("button", name="Push it").click()
        if payload == '{"n": 1}':
            await expect(page.get_by_text("was there already under this id")).to_be_visible()
    await expect(dialog.get_by_label("Id")).to_be_focused()
    await expect(dialog).to_contain_text("is taken")
    await dialog.get_by_role("button", name="Leave it").click()
    await expect(page.locator("tbody tr")).to_have_count(1)


@pytest.mark.long
async def test_filters_outlive_a_reload_and_the_list_goes_on(opened: Open, serve: Serve, tmp_path: Path):
    url = f"sqlite:///{tmp_path}/events.db"
    app = Fanwood(url, local_worker=False)
    await app.events.aio_bulk_push(
        [PushEvent("k", {"n": n}, scope="east" if n % 2 == 0 else "west") for n in range(120)]
    )
    page = await opened(serve(url), "/events")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Older events").click()
    await expect(rows).to_have_count(100)
    await app.events.aio_bulk_push([PushEvent("new", {"n": n}) for n in range(3)])
    await app.aio_close()
    await expect(rows).to_have_count(103)  # it is asked again after a while, and keeps what was there
    await page.get_by_role("button", name="Older events").click()
    await expect(rows).to_have_count(123)
    await expect(page.get_by_role("button", name="Older events")).to_have_count(0)
    numbers = [await row.inner_text() for row in await rows.all()]
    assert [text.count('"n":') for text in numbers] == [1] * 123

    await page.get_by_label("Scope", exact=True).fill("west")
    await page.get_by_label("Pushed").select_option("24h")
    await expect(page.get_by_label("Filters")).to_contain_text("west")
    await expect(page.get_by_role("row").filter(has_text="east")).to_have_count(0)
    assert sorted(page.url.split("?")[1].split("&")) == ["scope=west", "span=24h"]
    await go_to(page)
    await expect(rows).to_have_count(50)
    await expect(page.get_by_role("row").filter(has_text="east")).to_have_count(0)
    await page.get_by_role("link", name="Remove the filter").click()
    await expect(page.get_by_role("row").filter(has_text="east").first).to_be_visible()


@pytest.mark.long
async def test_who_may_not_see_payloads_or_is_bound_to_a_namespace(
    opened: Open, serve: Serve, site: Site, tmp_path: Path, watch
):
    watch.expect("403")
    tokens = tmp_path / "tokens"
    told = (Token("eve", digest("a-viewer"), "viewer"), Token("sue", digest("a-shop"), "operator", "shop"))
    tokens.write_bytes(b"\n".join(map(msgspec.json.encode, told)))
    tokens.chmod(0o600)
    other = serve(site.url, tokens=tokens)
    page = await opened(other, "/events", token="a-viewer")
    await settled(page)
    await expect(page.locator("tbody tr")).to_have_count(50)
    await expect(page.get_by_role("button", name="Push an event")).to_have_count(0)
    await go(page, "/events/deploy%2F4.2.0")
    await expect(page.locator("main")).to_contain_text("Payloads are not shown to you here")
    assert await hindrances(page) == []
    page = await opened(other, "/events", token="a-shop")
    await expect(page.get_by_role("alert")).to_contain_text("bound to shop")
    await expect(page.get_by_role("button", name="Push an event")).to_have_count(0)


@pytest.mark.long
async def test_events_are_text(opened: Open, serve: Serve, tmp_path: Path):
    await asyncio.to_thread(hostile, tmp_path / "hostile.db", 1_795_000_000_000_000)
    page = await opened(serve(f"sqlite:///{tmp_path}/hostile.db"), "/events")
    await expect(page.locator("tbody tr")).to_have_count(len(PAYLOADS))
    for text, mark in list(zip(PAYLOADS, MARKS, strict=True))[:-1]:  # (the last is no path that a server takes)
        await go(page, f"/events/{await page.evaluate('encodeURIComponent', text)}")
        await expect(page.locator("h1")).to_contain_text(mark)
        await expect(page.get_by_role("region", name="Payload").last).to_contain_text(mark)
