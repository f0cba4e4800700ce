"""That what must not happen would be seen: a page that does all of it."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.browser.watch import Watch

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOST = "127.0.0.1:1"
BAD = {
    "executed: 1": "<script>alert(1)</script>",
    "executed: 2": "<img src=none onerror='alert(2)'>",
    "console: broken": "<script>console.error('broken')</script>",
    "exception: ": "<script>throw new Error('thrown')</script>",
    "request to another host: http://elsewhere.example/x.png": "<img src='http://elsewhere.example/x.png'>",
    "CSP: object-src": "<object data='/x'></object>",
}


async def test_what_must_not_happen_is_seen(browser: Browser):
    watch = Watch()
    async with await browser.new_context() as context:
        await watch.over(context, HOST)
        page = await context.new_page()
        headers = {"content-type": "text/html", "content-security-policy": "object-src 'none'"}
        await context.route(f"http://{HOST}/", lambda route: route.fulfill(body="".join(BAD.values()), headers=headers))
        await page.goto(f"http://{HOST}/")
        await page.evaluate("new Promise((done) => setTimeout(done))")  # what was noted has come here
    missed = [kind for kind in BAD if not any(note.startswith(kind) for note in watch.wrong)]
    assert missed == [], watch.wrong
