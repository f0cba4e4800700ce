"""What a page weighs: counted, not timed."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Open
from tests.browser.driving import settled
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASSETS, DATA = 60_000, 40_000  # bytes over the wire
NODES = 1_500


async def test_the_tree_page_is_light(opened: Open, site: Site, trees: dict[str, str], watch):
    page = await opened(site, f"/t/{trees['ingest']}", alone=True)  # which has no file yet
    await settled(page)
    assert await page.evaluate("document.querySelectorAll('*').length") <= NODES
    sizes = {"assets": 0, "data": 0}
    for request in watch.requests:
        if "/live" in request.url:
            continue
        size = (await request.sizes())["responseBodySize"]
        sizes["data" if "/api/" in request.url else "assets"] += size
    assert 0 < sizes["assets"] <= ASSETS, sizes
    assert 0 < sizes["data"] <= DATA, sizes
