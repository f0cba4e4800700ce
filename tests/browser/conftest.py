"""One browser for all tests of a process; what its pages must not do is watched."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from tests.browser.anew import LOOKED_ON, pytest_report_teststatus, pytest_runtest_protocol, pytest_terminal_summary
from tests.browser.driving import go_to
from tests.browser.installation import MissingBrowserError, find, is_required
from tests.browser.shared import PATIENCE, USUAL, Shared
from tests.browser.stories import company
from tests.browser.watch import Watch

if TYPE_CHECKING:
    from tests.browser.serving import Site

FLAGS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-sandbox",
    "--disable-gpu", "--renderer-process-limit=1",
)  # fmt: skip
"""Nothing leads away from this machine. Root can't have a sandbox. One process draws all pages: a tenth less of a
processor's time."""

__all__ = ["pytest_report_teststatus", "pytest_runtest_protocol", "pytest_terminal_summary"]
"""Hooks of pytest."""

Open = Callable[..., Awaitable[Page]]
Serve = Callable[..., "Site"]

expect.set_options(timeout=PATIENCE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    try:
        program = find()
    except MissingBrowserError as error:
        (pytest.fail if is_required() else pytest.skip)(str(error))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(FLAGS), timeout=PATIENCE)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A store with something of everything, which nobody changes; and its trees by name."""
    file = tmp_path_factory.mktemp("company") / "fanwood.db"
    trees = company(file, time.time_ns() // 1000)
    return f"sqlite:///{file}", trees


@pytest.fixture(scope="module")
def site(store: tuple[str, dict[str, str]]) -> Iterator[Site]:
    """The pages of that store. Whoever changes something makes a store of its own. (Not for the whole session: other
    folders' tests should not have its thread beside them.)"""
    from tests.browser.serving import serving

    with serving(store[0]) as site:
        yield site


@pytest.fixture(scope="session")
def trees(store: tuple[str, dict[str, str]]) -> dict[str, str]:
    return store[1]


@pytest.fixture(scope="module")
def empty_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from tests.browser.rows import Writer
    from tests.browser.serving import serving

    file: Path = tmp_path_factory.mktemp("empty") / "fanwood.db"
    with serving(Writer(file, 0).url) as site:
        yield site


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """The pages of a store, until the end of the test: of one that the test changes. (Below
    `tmp_path`, which must be there as long: so it is asked for here.)"""
    from tests.browser.serving import serving

    with contextlib.ExitStack() as until_the_end:
        yield lambda url, **options: until_the_end.enter_context(serving(url, **options))


@pytest_asyncio.fixture(loop_scope="session")
async def watch(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    """What the pages of this test must not have done, in the end."""
    watch = request.node.stash[LOOKED_ON] = Watch()
    yield watch
    assert watch.wrong == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(browser: Browser) -> AsyncIterator[Shared]:
    context = await browser.new_context(**USUAL)
    yield await Shared.of(context)
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def opened(browser: Browser, shared: Shared, watch: Watch, serve: Serve) -> AsyncIterator[Open]:
    """Opens a page of a site. All those of a test have one context, with nothing in it but what a cache has of the
    pages' files; or, `alone`, each one of its own. It is closed before its server; what was stored for it is gone."""
    contexts: list[BrowserContext] = []

    async def opened(
        site: Site,
        path: str = "/",
        *,
        token: str | None = None,
        alone: bool = False,
        viewport: ViewportSize = USUAL["viewport"],
        color_scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        if alone:
            contexts.append(context := await browser.new_context(**USUAL))
            context.set_default_timeout(PATIENCE)
            await watch.over(context, site.host)
            page = await context.new_page()
        else:
            page = await shared.page(site.host, watch)
        if viewport != USUAL["viewport"]:
            await page.set_viewport_size(viewport)
        if color_scheme != "light":
            await page.emulate_media(color_scheme=color_scheme)
        await go_to(page, site.at(path) if token is None else site.at(path, token))
        return page

    yield opened
    for context in contexts:
        await context.close()
    await shared.clear()
