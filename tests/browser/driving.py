"""What tests do with a page over and over: go somewhere without loading it anew, wait until it shows what it has, ask
a module of it, look for what hinders people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.async_api import Error, Page, expect

from tests.browser.watch import OF_THE_MACHINE

PAGES = {
    "trees": "/",
    "tree": "/t/{ingest}",
    "run": "/r/{failed}",
    "failures": "/failures",
    "tasks": "/tasks",
    "task": "/tasks/ingest",
    "workers": "/workers",
    "events": "/events",
    "event": "/events/deploy%2F4.2.0",
    "store": "/store",
    "actions": "/actions",
    "search": "/search?q=KeyError",
}
"""All that there is to look at, by name; `{ingest}` stands for a tree of the company's store."""

_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
_MODULE = """
    async ([name, member, args]) => {
        const base = document.querySelector("script[type=module]").src.replace(/[^/]*$/, "");
        const value = (await import(base + name))[member];
        return typeof value === "function" ? value(...args) : value;
    }
"""


ITS_PAGE = "chrome-error://"
"""What Chromium shows when it could not load a page, which may come in the way of the next attempt."""


async def go_to(page: Page, url: str | None = None) -> None:
    """To an address, or to the same again, as who presses F5; and again if the machine's own network changed meanwhile:
    nobody but the browser can heal that."""
    for left in reversed(range(4)):
        try:
            await (page.reload() if url is None else page.goto(url))
            return
        except Error as error:
            if not left or not any(each in str(error) for each in (OF_THE_MACHINE, ITS_PAGE)):
                raise


async def settled(page: Page) -> None:
    """It shows what it has: nothing is said to be loading, and no fetch is under way that would change that."""
    await expect(page.locator("main")).to_be_visible()
    await expect(page.locator("main[aria-busy=true], .loading, .row-loading")).to_have_count(0)


async def go(page: Page, path: str) -> None:
    """As a link does: the page stays, and shows something else."""
    await module(page, "core/place.js", "go", path)
    await settled(page)


async def module(page: Page, name: str, member: str, *args: Any) -> Any:
    """What a function of the pages' modules returns, in the page."""
    return await page.evaluate(_MODULE, [name, member, list(args)])


COLOURS = ("color-contrast", "link-in-text-block")
"""Rules that take three quarters of the time that all of them take."""


async def hindrances(page: Page, *rules: str, but: tuple[str, ...] = ()) -> list[str]:
    """What axe finds, as one line each; of these rules only, if some are named, and not of those left out."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    options["rules"] = {rule: {"enabled": False} for rule in but}
    found = await page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{violation['id']}: {node['html'][:200]} ({' '.join(map(str, node['target']))}): {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"][:3]
    ]
