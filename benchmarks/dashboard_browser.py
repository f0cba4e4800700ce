"""What a browser makes of the page of a large tree: when something is seen, and what it takes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.browser.installation import MissingBrowserError, find

PATIENCE = 120_000  # milliseconds
_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
_BYTES = """
    () => [performance.getEntriesByType("navigation")[0], ...performance.getEntriesByType("resource")]
        .filter((entry) => !entry.name.includes("/api/"))
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0)
"""
_FRAMES = """
    (seconds) => new Promise((done) => {
        const gaps = [], end = performance.now() + seconds * 1000;
        let last = performance.now();
        const frame = (now) => {
            gaps.push(now - last);
            last = now;
            if (now < end) requestAnimationFrame(frame);
            else done(gaps.slice(1));
        };
        requestAnimationFrame(frame);
    })
"""
_TASKS = """
    () => {
        window.__long = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.__long = Math.max(window.__long, entry.duration);
        }).observe({type: "longtask"});
    }
"""
_TRACED = "toplevel", "disabled-by-default-devtools.timeline", "__metadata"
Figure = tuple[str, float, str, str]


def browsed(url: str, root: str, seconds: float, change: Callable[[], object]) -> list[Figure]:
    """Figures of the page of a tree; `change` changes something in it. None, if there is no browser."""
    try:
        program = find()
    except MissingBrowserError as error:
        print(f"  no browser: {error}")
        return []
    from playwright.sync_api import sync_playwright

    found: list[Figure] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=PATIENCE)
        for which in ("first page of a new browser", "again"):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(f"{url}t/{root}", timeout=PATIENCE)
            page.locator("canvas").first.wait_for(timeout=PATIENCE)
            found.append((f"first contentful paint, {which}", page.evaluate(_PAINT), "ms", "<= 500"))
            if which == "again":
                metrics = context.new_cdp_session(page)
                metrics.send("Performance.enable")
                page.evaluate(_TASKS)
                browser.start_tracing(page=page, categories=list(_TRACED))
                with _changing(change):
                    gaps = page.evaluate(_FRAMES, seconds)
                tasks = _tasks(browser.stop_tracing())
                longest = page.evaluate("() => window.__long")
                metrics.send("HeapProfiler.collectGarbage")
                told = {each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]}
                found += [
                    ("assets, gzipped", page.evaluate(_BYTES) / 1e3, "kB", "<= 60"),
                    ("JavaScript's heap", told["JSHeapUsedSize"] / 1e6, "MB", "<= 30"),
                    ("DOM: elements", page.evaluate("() => document.querySelectorAll('*').length"), "", "<= 1500"),
                    ("longest work for a frame while live, processor time", max(tasks, default=0), "ms", "<= 16"),
                    ("longest gap between two frames while live (60 a second)", max(gaps), "ms", ""),
                    ("gaps above 20 ms, of a hundred frames", sum(gap > 20 for gap in gaps) * 100 / len(gaps), "", ""),
                    ("longest task of the page above 50 ms", longest, "ms", "0"),
                ]
            context.close()
        browser.close()
    return found


def _tasks(trace: bytes) -> list[float]:
    """Milliseconds of a processor that each task of the page's main thread took."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event.get("tdur", event["dur"]) / 1e3
        for event in events
        if event["name"].endswith("RunTask") and "dur" in event and (event["pid"], event["tid"]) in mains
    ]


@contextmanager
def _changing(change: Callable[[], object]) -> Iterator[None]:
    """Something changes twice a second."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.5):
            change()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
