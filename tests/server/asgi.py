"""Requests to the application in this process, with exactly the bytes that a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from fanwood.server.app import Application

HOST = "127.0.0.1:8765"
Head = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """Of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json()
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:fanwood:problem:{problem['code']}"
        return problem["code"]


def scope_of(method: str, target: str, headers: Head, client: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": (client, 50_000),
        "server": ("127.0.0.1", 8765),
    }


class Client:
    """`ask` sends what a browser's page of ours would, unless headers are given."""

    def __init__(self, app: Application, token: str | None = None) -> None:
        self.app = app
        self.token = token

    def headers(self, *, host: str = HOST) -> list[tuple[str, str]]:
        found = [("host", host), ("sec-fetch-site", "same-origin"), ("content-type", "application/json")]
        return [*found, ("authorization", f"Bearer {self.token}")] if self.token else found

    async def ask(
        self,
        target: str,
        method: str = "GET",
        *,
        headers: Head | None = None,
        more: Head = (),
        body: bytes | Iterable[bytes] = b"",
        client: str = "127.0.0.1",
    ) -> Answer:
        parts = [body] if isinstance(body, bytes) else list(body)
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages[-1]["more_body"] = False
        return await self.sent(
            scope_of(method, target, [*(self.headers() if headers is None else headers), *more], client), messages
        )

    async def sent(self, scope: dict[str, Any], messages: list[dict[str, Any]]) -> Answer:
        started: dict[str, Any] = {}
        found = bytearray()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()  # neither more, nor gone
            raise AssertionError

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                found.extend(message.get("body", b""))

        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in started["headers"]}
        return Answer(started["status"], headers, bytes(found))
