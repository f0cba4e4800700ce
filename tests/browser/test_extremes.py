"""What is longer, larger or of another script than anybody thought: it is cut and says so, and keeps to its place."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from fanwood.ids import id_text
from tests.browser.conftest import Open
from tests.browser.driving import COLOURS, go, hindrances, module
from tests.browser.rows import SECOND, C, F, R, W, Writer
from tests.browser.serving import Site, serving
from tests.chaos.scale import FULL

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

LONG = "a-service-of-the-department-of-translation-whose-name-nobody-would-type-مهمة-日本語"
MANY, FAILED = 2_100, 501  # more than a list counts
TASKS, WORKERS = 70, 30
ODD = "a|completed|b"
WIDE = 1440


@pytest.fixture(scope="module")
def extreme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, str]]]:
    writer = Writer(tmp_path_factory.mktemp("extreme") / "fanwood.db", time.time_ns() // 1000, lease=-10 * SECOND)
    at = writer.now - 100 * SECOND
    root = writer.run("large", C, at=at, took=2 * SECOND, output=None)
    for number in range(MANY):
        writer.run("part", F if number < FAILED else C, root, at=at + number, took=SECOND)
    error = {"kind": "failed", "type": "RuntimeError", "message": "E" * 900 + "\nline\n" * 90, "traceback": ""}
    failed = writer.run(LONG, F, at=at + SECOND, took=SECOND, error=error)
    long = writer.run("root", C, at=at + SECOND, took=SECOND, output=None)
    writer.run(LONG, C, long, at=at + SECOND, took=SECOND, input={"text": "x" * 3000})
    for number in range(30):
        writer.run("part", C, long, at=at + SECOND + number, took=SECOND)
    going_on = writer.run("short", W, long, at=at + SECOND, attempt=1, due_at=writer.now + 3600 * SECOND)
    whole = {"size": 10**15, "amount": 10**15, "used": 10**12, "held": 10**9, "base": 0, "open": 1}
    for unit in ("tokens-of-a-unit-with-a-long-name", "runs"):
        writer.add("budget", run_id=long, unit=unit, source=long, root_id=long, parent=None, **whole)
    writer.worker(LONG, LONG, [LONG])  # which is lost
    writer.task(LONG, "A description " * 30)
    for number in range(TASKS):
        writer.task(f"task {number:02}", "")
    for number in range(WORKERS):
        writer.worker(f"worker {number}", "host", [], slots=400)
    nested = writer.run("nested", C, at=at, took=SECOND, output=None)
    parts = [writer.run("middle", C, nested, at=at + number, took=SECOND) for number in range(25)]
    for number in range(3):
        writer.run("leaf", F, parts[number], at=at + number, took=SECOND)
    named = writer.run("named", R, at=at)
    for number in range(25):
        writer.run(ODD, F if number < 3 else C, named, at=at + number, took=SECOND)
    writer.write()
    names = {"named": named, "nested": nested, "large": root, "failed": failed, "long": long, "going_on": going_on}
    with serving(writer.url) as site:
        yield site, {name: id_text(run) for name, run in names.items()}


async def test_a_large_tree_says_that_it_is_larger(opened: Open, extreme: tuple[Site, dict[str, str]]):
    site, runs = extreme
    page = await opened(site)
    row = page.locator("tr", has=page.locator(f"#tree-{runs['large']}"))
    await expect(row).to_contain_text("2,001+")
    await expect(row.get_by_role("link", name="501+ failed")).to_be_visible()
    other = page.locator("tr", has=page.locator(f"#tree-{runs['failed']}"))
    await expect(other).not_to_contain_text("+")


async def test_nothing_leaves_its_place(opened: Open, extreme: tuple[Site, dict[str, str]]):
    site, runs = extreme
    coloured = f"/r/{runs['failed']}", f"/t/{runs['long']}"
    for width in (390, WIDE):
        page = await opened(site, viewport={"width": width, "height": 800})
        for path in (
            "/",
            "/tasks",
            "/failures",
            "/workers",
            f"/r/{runs['failed']}",
            f"/t/{runs['long']}",
            f"/t/{runs['large']}",
        ):
            await go(page, path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, (width, path)
            if width < WIDE:
                assert await hindrances(page, but=COLOURS) == [], (width, path)  # they are the same
            elif FULL or path in coloured:
                assert await hindrances(page) == [], (width, path)
    name = page.locator(".tree-row .task", has_text="a-service")
    await go(page, f"/t/{runs['long']}")
    cut = await name.first.evaluate("(e) => getComputedStyle(e).textOverflow")
    assert cut == "ellipsis"


async def test_what_only_waits_for_a_time_is_not_expected(opened: Open, extreme: tuple[Site, dict[str, str]]):
    """How fast others have ended says nothing of it."""
    site, runs = extreme
    page = await opened(site, f"/t/{runs['long']}")
    await expect(page.locator("main")).to_contain_text("not yet known")


async def test_amounts(opened: Open, extreme: tuple[Site, dict[str, str]]):
    page = await opened(extreme[0], "/tasks")
    amounts = {"1234567": "1,234,567", "1234.5678": "1,234.5678", "0.0001": "0.0001", "-1000": "-1,000", "": "0"}
    for text, told in amounts.items():
        assert await module(page, "core/format.js", "amount", text) == told


async def test_of_very_many_tasks_and_workers_some_are_shown_and_more_when_asked(
    opened: Open, extreme: tuple[Site, dict[str, str]]
):
    page = await opened(extreme[0], "/tasks")
    rows = page.locator(".tasks-list tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_label("Filter tasks").fill("task 69")
    await expect(rows).to_have_count(1)  # it was not among them
    await page.get_by_label("Filter tasks").fill("")
    await page.get_by_role("button", name="Show more").click()
    await expect(rows).to_have_count(TASKS + 1)
    await expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    await go(page, "/workers")
    await expect(page.locator(".worker")).to_have_count(20)
    assert await page.evaluate("document.querySelectorAll('*').length") <= 1_500
    await page.get_by_role("button", name="Show more").click()
    await expect(page.locator(".worker")).to_have_count(WORKERS + 1)


async def test_what_a_filter_lets_through_is_shown_also_below_what_it_does_not(
    opened: Open, extreme: tuple[Site, dict[str, str]]
):
    """Three runs failed, below three of a group of which none has."""
    site, runs = extreme
    rows = "#tree-rows .tree-row, [role=treegrid] [role=row]"
    for filter_ in ("state=failed", "task=leaf", "task=leaf&state=failed"):
        page = await opened(site, f"/t/{runs['nested']}?{filter_}")
        await expect(page.locator(rows).filter(has_text="leaf")).to_have_count(3)
    page = await opened(site, f"/t/{runs['nested']}?task=middle")
    await expect(page.locator(rows).filter(has_text="middle")).to_have_count(1)  # right below the root: a group
    page = await opened(site, f"/t/{runs['nested']}?state=failed")
    await page.get_by_role("button", name="Retry all").click()
    sample = page.locator("dialog .sample li")
    await expect(sample).to_have_count(3)
    assert await sample.first.evaluate("(e) => getComputedStyle(e).borderTopWidth") == "0px"  # no chip of the filters


async def test_names_with_signs_that_the_list_has_itself(opened: Open, extreme: tuple[Site, dict[str, str]]):
    site, runs = extreme
    page = await opened(site, f"/t/{runs['named']}")
    await page.locator("[role=treegrid] .row-group").filter(has_text="25").click()
    failed = page.locator("[role=treegrid] .row-state").filter(has_text="failed")
    members = page.locator("[role=treegrid] .row-run").filter(has_text=ODD)
    await failed.click()
    await expect(members).to_have_count(3)
    await failed.click()
    await expect(members).to_have_count(0)
    asked = page.expect_request(lambda request: "/members" in request.url)
    async with asked:  # what was closed is asked for again
        await failed.click()
    await expect(members).to_have_count(3)
    page = await opened(site, f"/t/{runs['named']}?state=failed")
    await expect(page.locator("[role=treegrid] .row-run").filter(has_text=ODD)).to_have_count(3)
