"""The documentation in a browser: a server on this machine alone, which has pages and nothing else."""

from __future__ import annotations

import html
import itertools
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from markdown_it.token import Token

LOOPBACK = "127.0.0.1"
FIRST, INDEX = "overview", "/index"
MISSING = "There is no such page here"
_COMMENTS = re.compile(r"^<!--.*?-->\n", re.MULTILINE)
_STYLE = (
    "body{max-width:52rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif}"
    "body{color:#222;background:#fff}"
    "pre{background:#f4f4f4;padding:.8rem;overflow-x:auto}code{font-size:.9em}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#2a2a2a}a{color:#8ab4f8}}"
)


class DocsServer(ThreadingHTTPServer):
    """Serves `pages` (files by name) on the loopback interface; port 0: any that is free."""

    daemon_threads = True

    def __init__(self, pages: dict[str, Path], port: int) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.pages = pages

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://{LOOPBACK}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """A page, or the list of those that there are."""
        pages = cast("DocsServer", self.server).pages
        name = page_named(urlsplit(self.path).path, pages)
        asked = name is not None or self.path == INDEX
        status = HTTPStatus.OK if asked else HTTPStatus.NOT_FOUND
        body = (
            _list(pages, "All pages" if asked else MISSING)
            if name is None
            else as_html(pages[name].read_text(encoding="utf-8"))
        )
        data = _whole(name or "Pages", body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name above)
        """Nothing: a terminal is no place for it."""


def page_named(path: str, pages: dict[str, Path]) -> str | None:
    """The page that a URL's path means, as the pages link to each other. Only names that there are lead anywhere."""
    name = unquote(path).strip("/").removeprefix("docs/").removesuffix(".md").removesuffix("/README")
    name = {"": FIRST, "README": FIRST}.get(name, name)
    return next((known for known in (name, f"{name}/README") if known in pages), None)


def as_html(text: str) -> str:
    """Markdown as HTML. What is HTML in it is shown as text."""
    from markdown_it import MarkdownIt  # rich has it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(_COMMENTS.sub("", text))
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", _anchor(inline))
    return str(markdown.renderer.render(tokens, markdown.options, {}))


def _anchor(heading: Token) -> str:
    """What links to a heading call it."""
    return re.sub(r"[^\w\- ]", "", heading.content.lower()).replace(" ", "-")


def _list(pages: dict[str, Path], title: str) -> str:
    links = "".join(f'<li><a href="/{html.escape(name)}.md">{html.escape(name)}</a></li>' for name in pages)
    return f"<h1>{title}</h1><ul>{links}</ul>"


def _whole(title: str, body: str) -> str:
    top = f'<p><a href="/">Overview</a> · <a href="{INDEX}">All pages</a></p>'
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    head = f"<head>{head}<title>{html.escape(title)}</title></head>"
    return f"<!doctype html><html lang=en>{head}<body>{top}{body}</body></html>"
