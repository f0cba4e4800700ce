"""What stands between a browser and the server, and cuts streams off, holds them back, or swallows answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEVER = 10**9
SHORT = 300  # bytes of an answer: its head, what a stream says first, and no picture


class Between:
    """A proxy. Of answers to what matches `what` it lets so many bytes pass, then closes (`cuts`) or does nothing."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.what, self.bytes, self.cuts = re.compile("$never"), NEVER, False
        self.met = 0
        self.over = asyncio.Event()
        self.tasks = set[asyncio.Task[None] | None]()

    def let(self, what: str, bytes_: int, *, cuts: bool = False) -> None:
        self.what, self.bytes, self.cuts, self.met = re.compile(what), bytes_, cuts, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            head = re.sub(rb"(?i)\r\n(host|origin|connection|accept-encoding): [^\r]*", b"", head)
            host, port = self.site.host.split(":")
            fro, to = await asyncio.open_connection(host, int(port))
            line = head.partition(b"\r\n")[0].decode()
            to.write(head[:-2] + f"Host: {self.site.host}\r\nConnection: close\r\n\r\n".encode())
            left = self.bytes if self.what.search(line) else NEVER
            self.met += left != NEVER
            try:
                while (some := await fro.read(65_536)) and left:
                    writer.write(some[:left])
                    left -= len(some[:left])
                    await writer.drain()
                if not left and not self.cuts:
                    await self.over.wait()
            finally:
                to.close()
                writer.close()


@asynccontextmanager
async def between(site: Site) -> AsyncIterator[tuple[Between, Site]]:
    proxy = Between(site)
    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            yield proxy, Site(f"127.0.0.1:{port}", site.url)
        finally:
            proxy.over.set()
            for task in proxy.tasks:
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in proxy.tasks if task is not None), return_exceptions=True)


@pytest.mark.long
@pytest.mark.parametrize("cuts", [True, False], ids=["cut", "held"])
async def test_where_no_stream_comes_through_the_page_polls(
    opened: Open, site: Site, trees: dict[str, str], *, cuts: bool
):
    """Before anything of a picture is whole; and it goes on by the stream when that comes through again."""
    async with between(site) as (proxy, seen):
        proxy.let("/api/v1/live", SHORT, cuts=cuts)
        page = await opened(seen, f"/t/{trees['ingest']}")
        await expect(page.locator(".freshness")).to_contain_text("polling")
        await expect(page.locator("main")).to_contain_text("runs")
        async with page.expect_response(lambda answer: "/view" in answer.url):
            pass  # again and again
        if cuts:
            proxy.let("$never", NEVER)
            await expect(page.locator(".freshness")).to_contain_text(re.compile("live|final"))
        await page.close()


@pytest.mark.long
async def test_what_is_not_answered_is_said_and_asked_for_once(opened: Open, site: Site):
    async with between(site) as (proxy, seen):
        page = await opened(seen, "/actions")
        await expect(page.locator(".freshness")).to_contain_text("every 2 s")
        proxy.let("/api/v1/actions", 0)
        await expect(page.locator(".freshness")).to_contain_text("reconnecting")
        assert proxy.met == 1
        proxy.let("/api/v1/workers", 0)
        await page.get_by_role("link", name="Workers").click()
        await expect(page.locator("main")).to_contain_text("takes long to answer")
        await page.close()
