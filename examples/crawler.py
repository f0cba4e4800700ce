"""A crawler: a page, and all that it leads to, three links deep. Pages that several others lead to are fetched once.

    python examples/crawler.py

Each page is a run, and its links are its children. Branches run at the same time, on whatever workers there are, and
know nothing of each other; `share="tree"` has them share what is the same. The site is a small one, on this machine.
"""

import re
import urllib.request
from collections import Counter
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urljoin

from fanwood import Fanwood

fanwood = Fanwood()

SITE = {
    "/": ["/news", "/shop", "/about"],
    "/news": ["/", "/news/1", "/news/2"],
    "/news/1": ["/news", "/shop", "/about"],
    "/news/2": ["/news", "/news/1"],
    "/shop": ["/", "/about", "/shop/cakes"],
    "/shop/cakes": ["/shop", "/news/1", "/gone"],
    "/about": ["/"],
}
asked = Counter[str]()


@dataclass
class Page:
    path: str
    deep: int = 3


@fanwood.task(retries=2, execution_timeout="30s")
def fetch(path: str) -> list[str]:
    """The links of a page."""
    with urllib.request.urlopen(site() + path, timeout=10) as answer:
        return [urljoin(path, link) for link in re.findall(r'href="([^"]+)"', answer.read().decode())]


@fanwood.task
async def crawl(page: Page) -> list[str]:
    """The paths of all that a page leads to, and its own."""
    found = {page.path}
    links = await fetch.aio_run(page.path, share="tree")  # whoever asks first in this tree has it fetched
    if page.deep:
        below = [
            crawl.create_bulk_run_item(Page(link, page.deep - 1), share="tree")  # nearer, so never one above this
            for link in links
        ]
        for pages in await crawl.aio_run_many(below, return_exceptions=True):
            found |= set() if isinstance(pages, BaseException) else set(pages)
    return sorted(found)


# --- the site ---------------------------------------------------------------------------------------------------------


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked[self.path] += 1
        links = SITE.get(self.path)
        self.send_response(404 if links is None else 200)
        self.end_headers()
        self.wfile.write("".join(f'<a href="{link}">{link}</a>' for link in links or ()).encode())

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002  (its name there)


@cache
def site() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


if __name__ == "__main__":
    pages = crawl.run(Page("/"))
    print(f"{len(pages)} pages: {' '.join(pages)}")
    twice = [path for path in pages if path in SITE and asked[path] > 1]
    print(f"asked for more than once: {twice}; gone: tried {asked['/gone']} times")
