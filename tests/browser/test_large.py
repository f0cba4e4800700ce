"""Trees of what is no usual run: ten thousand recorded steps below one, and twenty thousand parents that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from benchmarks.trees import Shape, make, recorded, suspended
from fanwood import Settings
from fanwood.ids import id_text
from tests.browser.conftest import Open
from tests.browser.serving import Site, serving
from tests.chaos.scale import scaled

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

PATIENCE = 60_000  # milliseconds
PARENTS, STEPS = scaled((20_000, 10_000), (5_000, 5_000))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, str]]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('large')}/large.db"
    roots: dict[str, str] = {}
    shapes: tuple[Shape, ...] = (suspended(PARENTS), recorded(STEPS))  # the last one that is made has begun last
    for shape in shapes:
        roots[shape.root] = id_text(asyncio.run(make(Settings.load(database_url=url), shape)).root)
    with serving(url) as site:
        yield site, roots


async def test_recorded_steps_are_counted_apart_from_runs(opened: Open, large: tuple[Site, dict[str, str]]):
    site, roots = large
    page = await opened(site, f"/t/{roots['assistant']}")
    counts = page.get_by_label("Counts")
    await expect(counts).to_contain_text("2 runs", timeout=PATIENCE)
    await expect(counts).to_contain_text(f"and {STEPS:,} waits and recorded steps", timeout=PATIENCE)
    agent = page.get_by_role("row").filter(has_text="agent")
    await expect(agent).to_contain_text("4,096+ waits and steps")
    await agent.get_by_role("link").click()
    await expect(page.locator("main")).to_contain_text("Waits and recorded steps", timeout=PATIENCE)
    group = page.get_by_role("row").filter(has_text="step")
    await expect(group).to_contain_text(f"{STEPS:,}")
    assert await page.evaluate("document.querySelectorAll('*').length") <= 1_500


async def test_parents_that_wait_are_a_state_of_their_own(opened: Open, large: tuple[Site, dict[str, str]]):
    site, roots = large
    page = await opened(site, f"/t/{roots['campaign']}")
    counts = page.get_by_label("Counts")
    await expect(counts).to_contain_text(f"{2 * PARENTS + 1:,} runs", timeout=PATIENCE)
    await expect(counts).to_contain_text(f"{PARENTS:,} waiting")
    await expect(page.get_by_role("row").filter(has_text="customer")).to_contain_text(f"{PARENTS:,}", timeout=PATIENCE)
    assert await page.evaluate("document.querySelectorAll('*').length") <= 1_500
