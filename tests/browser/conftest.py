"""One browser for all tests of a process; each test has contexts of its own, and what they must not do is watched."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.installation import MissingBrowserError, find, is_required
from tests.browser.watch import Watch

PATIENCE = 60_000  # milliseconds: for what hangs; the machine may be busy with something else
FLAGS = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-sandbox")
"""Nothing leads away from this machine. Root can't have a sandbox."""

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


@pytest_asyncio.fixture(loop_scope="session")
async def watch(browser: Browser) -> AsyncIterator[Watch]:
    """What the pages of this test must not have done, in the end."""
    watch = Watch()
    yield watch
    assert watch.wrong == []
