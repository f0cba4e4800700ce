"""A server that acts, asked in the names of several people."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fanwood import Settings
from fanwood.server.app import Application, create
from fanwood.server.identity import Token, digest
from fanwood.server.options import Options
from tests.server.asgi import Client

PATIENCE = 180.0
SECRETS = {"viewer": "v" * 43, "operator": "o" * 43, "shop": "s" * 43, "admin": "a" * 43}
TOKENS = (
    Token("vera", digest(SECRETS["viewer"]), "viewer"),
    Token("otto", digest(SECRETS["operator"]), "operator"),
    Token("sue", digest(SECRETS["shop"]), "operator", "shop"),
    Token("ada", digest(SECRETS["admin"]), "admin"),
)


@dataclass(frozen=True)
class Said:
    status: int
    body: Any


@dataclass
class Desk:
    """Asks in somebody's name."""

    application: Application

    async def get(self, path: str, who: str = "admin") -> Said:
        return await self._ask("GET", path, b"", who)

    async def post(self, path: str, body: Any = None, who: str = "admin") -> Said:
        return await self._ask("POST", path, msgspec.json.encode({} if body is None else body), who)

    async def _ask(self, method: str, path: str, body: bytes, who: str) -> Said:
        answer = await Client(self.application, SECRETS[who]).ask(f"/api/v1{path}", method, body=body)
        return Said(answer.status, answer.json())

    async def previewed(self, action: str, who: str = "admin", **filter_: Any) -> Any:
        answer = await self.post("/actions", {"action": action, "filter": filter_, "dry_run": True}, who)
        assert answer.status == 200, answer
        return answer.body

    async def confirmed(self, token: str, who: str = "admin") -> str:
        answer = await self.post("/actions", {"token": token}, who)
        assert answer.status == 202, answer
        return answer.body["id"]

    async def ended(self, action: str) -> Any:
        """What came of an action."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = {each["id"]: each for each in (await self.get("/actions")).body["actions"]}
                if "finished_at" in found[action]:
                    return found[action]
                await asyncio.sleep(0.02)

    async def did(self, action: str, who: str = "admin", **filter_: Any) -> Any:
        """Preview, confirm, and wait."""
        return await self.ended(await self.confirmed((await self.previewed(action, who, **filter_))["token"], who))


@asynccontextmanager
async def desk(settings: Settings, *, idle: float | None = None, **options: Any) -> AsyncIterator[Desk]:
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_bytes(b"\n".join(map(msgspec.json.encode, TOKENS)))
        tokens.chmod(0o600)
        application = create(settings, Options(tokens=tokens, **options))
        if idle is not None:
            application.site.hands.idle = idle
        await application.begin()
        try:
            yield Desk(application)
        finally:
            await application.close()
