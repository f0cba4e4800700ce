"""What can be done from the pages, and by whom."""

from __future__ import annotations

import asyncio
import re
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import Locator, Page, expect

from fanwood import Fanwood, RunState, TaskRunError
from fanwood.server.identity import Token, digest
from tests.browser.conftest import Open, Serve
from tests.browser.driving import go

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOING = re.compile(r"^(cancel|retry|replay|start|delete|push)\b", re.IGNORECASE)


class Flaky:
    """A task that fails until it is told not to."""

    def __init__(self, app: Fanwood) -> None:
        self.well = threading.Event()

        @app.task
        def flaky(n: int) -> int:
            if not self.well.is_set():
                raise ValueError(f"bad row {n}")
            return n

        self.task = flaky


async def confirm(page: Page, name: str) -> None:
    """What is asked before something is done."""
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name=re.compile(f"^{name}")).click()
    await expect(dialog).to_have_count(0)


async def test_a_run_is_started_from_the_form(opened: Open, serve: Serve, app: Fanwood, url: str):
    from dataclasses import dataclass

    @dataclass
    class Greeting:
        name: str
        times: int = 1

    @app.task(input_validator=Greeting)
    def greet(input: Greeting) -> str:
        return " ".join([f"hello {input.name}"] * input.times)

    await greet.aio_run(Greeting("first"))
    site = serve(url)
    page = await opened(site, "/tasks")
    await page.get_by_role("link", name="Start a run of greet").click()
    await page.get_by_label("name").fill("<b>world</b>")
    await page.get_by_label("times").fill("2")
    await page.get_by_text("Budget: what it and all below it may use").click()
    await page.get_by_label("Runs").fill("12")
    await page.get_by_label("Units").fill("usd")
    await page.get_by_role("button", name="Start the run").click()
    await expect(page.get_by_role("alert")).to_contain_text("such as usd=5")
    await page.get_by_label("Units").fill("usd = 0.5, tokens=7")
    await page.get_by_role("button", name="Start the run").click()
    await expect(page.locator("h1")).to_have_text("greet")
    await expect(page.locator("h1 + .state")).to_contain_text("done")
    await expect(page.get_by_role("region", name="Budget").get_by_role("row", name="usd 0.5 0.5")).to_be_visible()
    newest = (await app.runs.aio_list(task_name="greet", limit=1))[0]
    assert {limit.unit: limit.amount for limit in (await app.runs.aio_get(newest.id)).budget} == {
        "runs": 12, "usd": Decimal("0.5"), "tokens": 7,
    }  # fmt: skip
    assert await newest_output(app, newest.id) == "hello <b>world</b> hello <b>world</b>"


async def newest_output(app: Fanwood, id: str) -> object:
    return (await app.runs.aio_get(id)).output


async def test_a_run_is_cancelled(opened: Open, serve: Serve, app: Fanwood, url: str):
    forever = threading.Event()

    @app.task
    def hold(n: int) -> None:
        forever.wait(150)

    ref = await hold.aio_run_no_wait(1)
    try:
        site = serve(url)
        page = await opened(site, f"/t/{ref.id}")
        await page.get_by_role("button", name="Cancel").click()
        await confirm(page, "Cancel")
        await expect(page.locator("h1 + .state")).to_contain_text("cancelled")
    finally:
        forever.set()
    assert (await app.runs.aio_get(ref.id)).status is RunState.CANCELLED


@pytest.mark.long
async def test_surgery(opened: Open, serve: Serve, app: Fanwood, url: str):
    """Whatever else can be done to a run, from its page and its tree's; what is wrong is said, and not done."""
    forever, flaky = threading.Event(), Flaky(app)

    @app.task
    def hold(n: int) -> int:
        forever.wait(150)
        return n

    @app.task
    async def lax(n: int) -> list[str]:
        found = await flaky.task.aio_run_many([flaky.task.create_bulk_run_item(n)], return_exceptions=True)
        return [str(each)[:9] for each in found]

    async def choose(page: Page, name: str) -> Locator:
        await page.get_by_role("button", name="More").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name=name).click()
        return dialog

    held, tolerant = await hold.aio_run_no_wait(1), await lax.aio_run_no_wait(2)
    await tolerant.aio_result(60)
    flaky.well.set()
    try:
        site = serve(url)
        page = await opened(site, f"/r/{held.id}")
        dialog = await choose(page, "Priority")
        await dialog.get_by_label("Priority").fill("9.5")
        await dialog.get_by_role("button", name="Set the priority").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("whole number")
        await dialog.get_by_label("Priority").fill("9")
        await dialog.get_by_role("button", name="Set the priority").click()
        await expect(page.get_by_role("definition").filter(has_text=re.compile("^9$"))).to_be_visible()
        dialog = await choose(page, "Patch a result")
        await dialog.get_by_label("Output").fill("{")
        await dialog.get_by_role("button", name="Patch it").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("no JSON")
        await dialog.get_by_label("Output").fill("41")
        await dialog.get_by_role("button", name="Patch it").click()
        await expect(page.locator("h1 + .state")).to_contain_text("done")
        assert await held.aio_result(60) == 41
    finally:
        forever.set()
    page = await opened(site, f"/t/{tolerant.id}")
    await page.get_by_role("button", name="Retry what failed").click()
    await confirm(page, "Retry what failed")
    await expect(page.get_by_role("button", name="Replay")).to_be_visible()
    assert await tolerant.aio_result(60) == ["2"]
    dialog = await choose(page, "Replay")
    await confirm(page, "Replay")
    assert await tolerant.aio_result(60) == ["2"]


@pytest.mark.long
async def test_a_run_is_forked(opened: Open, serve: Serve, app: Fanwood, url: str):
    """With another input, after one that is none; both pages say so."""

    @app.task
    def double(n: int) -> int:
        return 2 * n

    ref = await double.aio_run_no_wait(1)
    assert await ref.aio_result(60) == 2
    page = await opened(serve(url), f"/r/{ref.id}")
    await page.get_by_role("button", name="More").click()
    await page.get_by_role("dialog").get_by_role("button", name="Fork", exact=True).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Another input").fill("{n")
    await dialog.get_by_role("button", name="Fork it").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("no JSON")
    await dialog.get_by_label("Another input").fill("4")
    await dialog.get_by_label("Budget").fill("runs=3, usd=0.5")
    await dialog.get_by_role("button", name="Fork it").click()
    await page.get_by_role("link", name="See it").click()
    await expect(page.locator("dl.facts").first).to_contain_text("with another input")
    (fork,) = await app.runs.aio_forks(ref.id)
    assert (fork.of, fork.changed) == (ref.id, True)
    assert await app.runs.aio_get_result(fork.id, 60) == 8
    assert {(one.unit, str(one.amount)) for one in (await app.runs.aio_get(fork.id)).budget} == {
        ("runs", "3"),
        ("usd", "0.5"),
    }
    await go(page, f"/r/{ref.id}")
    await expect(page.locator("dl.facts")).to_contain_text("Forks")


@pytest.mark.long
async def test_all_that_match_get_another_priority(opened: Open, serve: Serve, app: Fanwood, url: str):
    forever = threading.Event()

    begun = threading.Event()

    @app.task
    def hold(n: int) -> int:
        begun.set()
        forever.wait(150)
        return n

    ref = await hold.aio_run_no_wait(1)
    await asyncio.to_thread(begun.wait, 60)
    try:
        page = await opened(serve(url), "/?state=running&task=hold")
        await page.get_by_role("button", name="Reprioritize all").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Priority").fill("")
        await dialog.get_by_role("button", name=re.compile("^Reprioritize")).click()
        await expect(dialog.get_by_role("alert")).to_contain_text("whole number")
        await dialog.get_by_label("Priority").fill("-4")
        await confirm(page, "Reprioritize")
        await go(page, "/actions")
        await expect(page.locator(".deed")).to_contain_text("reprioritize to -4")
        await expect(page.locator(".deed .state")).to_contain_text("done")
    finally:
        forever.set()
    assert (await app.runs.aio_get(ref.id)).priority == -4


@pytest.mark.long
async def test_a_run_that_failed_is_tried_again(opened: Open, serve: Serve, app: Fanwood, url: str):
    flaky = Flaky(app)
    ref = await flaky.task.aio_run_no_wait(7)
    site = serve(url)
    page = await opened(site, f"/r/{ref.id}")
    await expect(page.locator("main")).to_contain_text("bad row 7")
    flaky.well.set()
    await page.get_by_role("button", name="Retry").click()
    await confirm(page, "Retry")
    await expect(page.locator("h1 + .state")).to_contain_text("done")
    assert await ref.aio_result() == 7


@pytest.mark.long
async def test_all_failures_of_a_kind_are_tried_again(opened: Open, serve: Serve, app: Fanwood, url: str):
    """With a preview of how many, and only when that is confirmed; and then it can be watched."""
    flaky = Flaky(app)
    refs = [await flaky.task.aio_run_no_wait(n) for n in range(12)]
    for ref in refs:
        with pytest.raises(TaskRunError):
            await ref.aio_result()
    site = serve(url)
    page = await opened(site, "/failures")
    await expect(page.locator("main")).to_contain_text("bad row")
    await expect(page.locator("main")).to_contain_text("12")
    flaky.well.set()
    await page.get_by_role("button", name=re.compile("Retry these")).click()
    await expect(page.get_by_role("dialog")).to_contain_text("12 runs")
    await page.keyboard.press("Escape")
    assert (await app.runs.aio_get(refs[0].id)).status is RunState.FAILED

    await page.get_by_role("button", name=re.compile("Retry these")).click()
    await confirm(page, "Retry 12")
    await page.get_by_role("link", name="See it").click()
    await expect(page.locator("main")).to_contain_text(re.compile("retry.*12.*done|done.*retry.*12", re.DOTALL))
    assert [await ref.aio_result() for ref in refs] == list(range(12))


@pytest.mark.parametrize("kind", ["viewer", "read-only"])
async def test_who_may_only_look_is_offered_nothing(
    opened: Open, serve: Serve, store, trees: dict[str, str], kind: str, tmp_path: Path
):
    told: dict[str, Any] = {"read_only": True}
    if kind == "viewer":
        told = {"tokens": tmp_path / "tokens"}
        told["tokens"].write_bytes(msgspec.json.encode(Token("eve", digest("a-viewer"), "viewer")))
    site = serve(store[0], **told)
    page = await opened(site, token="a-viewer" if kind == "viewer" else None)
    lists = ("/", "/failures", "/tasks", "/tasks/ingest", "/actions") if kind == "viewer" else ()  # they know no kinds
    for path in (f"/t/{trees['ingest']}", f"/r/{trees['failed']}", "/events", *lists):
        await go(page, path)
        for role in ("button", "link"):
            assert await page.locator("main").get_by_role(role, name=DOING).all_inner_texts() == [], path
