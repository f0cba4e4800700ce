"""What must never happen on a page, whatever is tested: it is noted, and fails the test in the end."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Request

_INIT = """
    document.addEventListener("securitypolicyviolation", (event) =>
        window.__note(`CSP: ${event.violatedDirective} refused ${event.blockedURI} ${event.sample}`));
    window.alert = window.confirm = window.prompt = (text) => window.__note(`executed: ${text}`);
"""
"""In each document, before its own scripts. (What playwright adds is not subject to the page's policy.)"""
OF_THE_MACHINE = "net::ERR_NETWORK_CHANGED"
"""An interface of this machine came or went, and Chromium dropped what was under way. The pages fetch again what they
read (`test_lost.py`), and say of what they were to do that it failed."""


class Watch:
    """Errors on the console, exceptions, what the page's policy refused, requests to others than our server, and what
    payloads would do if they were executed."""

    def __init__(self) -> None:
        self._hosts: set[str] = set()
        self._notes: list[str] = []
        self._expected: list[str] = []
        self.dropped = 0
        """Requests that the machine's network cost."""
        self.requests: list[Request] = []

    async def over(self, context: BrowserContext, host: str) -> None:
        self.knows(host)
        await Eyes(self).on(context)

    def knows(self, host: str) -> None:
        """This server's pages are opened, and may ask it."""
        self._hosts.add(host)

    def expect(self, text: str) -> None:
        """This test provokes it: notes with this in them are fine, and one has to be there."""
        self._expected.append(text)

    @property
    def wrong(self) -> list[str]:
        wrong = [note for note in self._notes if not any(text in note for text in self._expected)]
        missing = [text for text in self._expected if not any(text in note for note in self._notes)]
        return wrong + [f"expected, and not seen: {text}" for text in missing]

    def paths(self) -> list[str]:
        """Of the requests until now, with what was asked for."""
        return [f"{(url := urlsplit(request.url)).path}?{url.query}".rstrip("?") for request in self.requests]

    def note(self, text: str) -> None:
        self._notes.append(text)

    def console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and OF_THE_MACHINE not in message.text:
            place: Any = message.location
            self.note(f"console: {message.text} ({place.get('url', '')}:{place.get('lineNumber', '')})")

    def failed(self, request: Request) -> None:
        self.dropped += OF_THE_MACHINE in (request.failure or "")

    def request(self, request: Request) -> None:
        self.requests.append(request)
        url = urlsplit(request.url)
        if url.scheme not in {"blob", "data", "about"} and url.netloc not in self._hosts:
            self.note(f"request to another host: {request.url}")


class Eyes:
    """On a context that tests have one after the other: `watch` is told, whose turn it is."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    async def on(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("weberror", lambda error: self.watch.note(f"exception: {error.error}"))
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("dialog", lambda dialog: self.watch.note(f"executed: {dialog.message}"))
        await context.expose_binding("__note", lambda _, text: self.watch.note(str(text)))
        await context.add_init_script(_INIT)

    # (Methods, and not those of `watch` at once: whose turn it is changes.)

    def _console(self, message: ConsoleMessage) -> None:
        self.watch.console(message)

    def _request(self, request: Request) -> None:
        self.watch.request(request)

    def _failed(self, request: Request) -> None:
        self.watch.failed(request)
