"""
Takes the pictures of the pages that the documentation shows: `make screenshots`.

What they show is made for them, and is seen at a moment that stands still, so that a picture is another one only if
its page is.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.driving import PAGES, go_to, settled
from tests.browser.installation import find
from tests.browser.rows import SECOND
from tests.browser.serving import Site, serving
from tests.browser.stories import company
from tests.debian import InstallationError, can_install, install_packages

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
SIZES = {"wide": (1440, 810, 1200), "narrow": (390, 844, 1400)}  # width, at least so high, and at most
SCHEMES = ("light", "dark")
QUALITY = 82
FONTS = ("fonts-inter", "fonts-jetbrains-mono")
"""What stands in for the fonts of other systems. Debian's own are not what most people read."""
MOMENT = datetime(2026, 11, 26, 14, 3, 22, tzinfo=UTC)
PARTS = 12_000
PLACE = Path(tempfile.gettempdir()) / "acme"
PATIENCE = 180_000  # milliseconds


class Moment:
    """A clock by which it is always the same time."""

    def now(self) -> int:
        return int(MOMENT.timestamp() * 1_000_000)

    def monotonic(self) -> float:
        return 0.0


def main() -> int:
    if can_install():
        try:
            install_packages(*FONTS)
        except InstallationError as error:
            print(f"The pictures will have other fonts: {error}", flush=True)
    only = set(sys.argv[1:]) or set(PAGES)
    PLACE.mkdir()  # (its name is in a picture)
    try:
        trees = company(PLACE / "fanwood.db", Moment().now(), parts=PARTS, lease=8 * SECOND)
        with serving(f"sqlite:///{PLACE}/fanwood.db", Moment()) as site:
            asyncio.run(_take(site, {name: path.format(**trees) for name, path in PAGES.items() if name in only}))
    finally:
        shutil.rmtree(PLACE)
    return 0


expect.set_options(timeout=PATIENCE)


async def _take(site: Site, pages: dict[str, str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        for size in SIZES:
            page = await _opened(browser, site, size)
            for name, path in pages.items():
                await go_to(page, site.at(path))
                await settled(page)
                for scheme in SCHEMES:
                    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                    await _picture(page, size, FOLDER / f"{name}-{size}-{scheme}.webp")
        await browser.close()


async def _opened(browser: Browser, site: Site, size: str) -> Page:
    width, height, _ = SIZES[size]
    context = await browser.new_context(
        viewport={"width": width, "height": height}, timezone_id="UTC", locale="en-GB", has_touch=size == "narrow"
    )
    await context.clock.set_fixed_time(MOMENT)
    context.set_default_timeout(PATIENCE)
    return await context.new_page()


async def _picture(page: Page, size: str, file: Path) -> None:
    """All of the page, within reason. Written only if it is another one."""
    width, least, most = SIZES[size]
    await page.set_viewport_size({"width": width, "height": least})
    whole = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": width, "height": max(least, min(most, whole))})
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    session = await page.context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    await session.detach()
    picture = base64.b64decode(taken["data"])
    if not file.exists() or file.read_bytes() != picture:
        file.write_bytes(picture)
        print(f"{file.name}: {len(picture) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
