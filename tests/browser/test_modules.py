"""The pages' pure modules, in the browser that runs them."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.browser.conftest import Open
from tests.browser.driving import module
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

US = 1_000_000
FORMATS: list[tuple[str, tuple[Any, ...], str]] = [
    ("count", (1_000_001,), "1,000,001"),
    ("short", (9_999,), "9,999"),
    ("short", (10_000,), "10k"),
    ("short", (999_499,), "999k"),
    ("short", (999_500,), "1.0M"),
    ("short", (1_234_567,), "1.2M"),
    ("many", (1, "run"), "1 run"),
    ("many", (2, "run"), "2 runs"),
    ("took", (None,), ""),
    ("took", (850,), "850 µs"),
    ("took", (9_949,), "9.9 ms"),
    ("took", (12_300,), "12 ms"),
    ("took", (3_210_000,), "3.2 s"),
    ("took", (252 * US,), "4m 12s"),
    ("took", (7_800 * US,), "2h 10m"),
    ("took", (200_000 * US,), "2d 07h"),
    ("age", (99 * US,), "99s"),
    ("age", (100 * US,), "1m"),
    ("age", (-5,), "0s"),
    ("range", ([12.0, 14.6],), "12\u201315 s"),
    ("range", ([12.0, 12.0],), "12 s"),
    ("rate", (3_919.6,), "3,920/s"),
    ("rate", (0.25,), "0.3/s"),
    ("size", (812,), "812 B"),
    ("size", (1_400_000,), "1.4 MB"),
    ("shortId", ("0192f3a1-7c1d-7aaa-8bbb-0123456789ab",), "456789ab"),
    ("percent", (0.0001,), "< 0.1 %"),
    ("percent", (0.9999,), "99.9 %"),
    ("percent", (1,), "100 %"),
    ("percent", (0.5,), "50 %"),
]


@pytest_asyncio.fixture(loop_scope="session")
async def page(opened: Open, site: Site) -> Page:
    return await opened(site, "/store")


async def test_values_are_written_as_people_read_them(page: Page):
    found = {(name, str(args)): await module(page, "core/format.js", name, *args) for name, args, _ in FORMATS}
    assert found == {(name, str(args)): text for name, args, text in FORMATS}
