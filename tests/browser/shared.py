"""One context for tests that don't ask for another: to begin one takes a browser a process, and all files of the pages
anew, as much as a page takes that is shown. After each test its pages are closed, and what was stored is gone."""

from __future__ import annotations

from typing import Any, Self

from playwright.async_api import BrowserContext, CDPSession, Page

from tests.browser.watch import Eyes, Watch

PATIENCE = 60_000  # milliseconds: for what hangs; the machine may be busy with something else
USUAL: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}


class Shared:
    """What a test finds in it is what a new one has, but for the cache of files that never change."""

    def __init__(self, context: BrowserContext, eyes: Eyes, stays: Page, tools: CDPSession) -> None:
        self._context = context
        self._eyes = eyes
        self._stays = stays  # an empty page: with the last one the process would go
        self._tools = tools
        self._hosts: set[str] = set()

    @classmethod
    async def of(cls, context: BrowserContext) -> Self:
        context.set_default_timeout(PATIENCE)
        await (eyes := Eyes(Watch())).on(context)
        stays = await context.new_page()
        return cls(context, eyes, stays, await context.new_cdp_session(stays))

    async def page(self, host: str, watch: Watch) -> Page:
        """One for a site, on which this one looks."""
        watch.knows(host)
        self._eyes.watch = watch
        self._hosts.add(host)
        return await self._context.new_page()

    async def clear(self) -> None:
        """As it was."""
        for page in self._context.pages:
            if page is not self._stays:
                await page.close()
        while self._hosts:
            origin = f"http://{self._hosts.pop()}"
            await self._tools.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
