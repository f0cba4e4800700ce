"""A proxy between processes and a PostgreSQL server that cuts their connections at the worst moments.

It understands as much of the wire protocol as it takes to know, per connection, which statement is under way and
when the server has answered. Two kinds of malice:

A *cut* ends a connection after a statement was sent and before its answer comes. The server has executed it, or is
about to; the client can't know. A *partition* lets nothing through any more, in either direction, while all sockets
stay open. What was sent meanwhile is held back, and arrives when it heals, as a network does that sends again; or it
is lost, and then a connection that has lost something is reset when it heals.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
ENDS_A_STATEMENT = {b"S", b"Q"}  # Sync, Query: now the server answers, with ReadyForQuery at the end
PARSE, BIND, EXECUTE, QUERY, READY = b"P", b"B", b"E", b"Q", b"Z"

Moment = Literal["answered", "sent"]
"""The server has executed it, and its answer is dropped; or it was only sent, and the client may be back before."""
Chooser = Callable[[str, str], Moment | None]
"""From a connection's application name and the statement under way to when to cut it, if at all."""


class Proxy:
    """Listens in a thread of its own, from `with` on. Its methods may be called from any other."""

    def __init__(self, server: str, *, host: str = "127.0.0.1", seed: int = 0) -> None:
        self.cuts: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()  # statements that were answered
        self._server = urlsplit(server)
        self._host = host
        self._dice = random.Random(seed)
        self._choose: Chooser | None = None
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The server's, by way of this."""
        user = f"{self._server.username}@" if self._server.username else ""
        return urlunsplit(self._server._replace(netloc=f"{user}{self._host}:{self.port}"))

    # --- malice ----------------------------------------------------------------------------------------------------

    def cut(self, probability: float, choose: Chooser, limit: int) -> None:
        """From now on cut with this probability whatever `choose` chooses, until there were `limit` cuts."""

        def chosen(application: str, statement: str) -> Moment | None:
            if sum(self.cuts.values()) >= limit or self._dice.random() >= probability:
                return None
            return choose(application, statement)

        self._choose = chosen

    def partition(self, *, lossy: bool) -> None:
        """Let nothing through; new connections hang."""
        self._call(self._partition(lossy))

    def heal(self) -> None:
        self._call(self._heal())

    # --- in its thread ---------------------------------------------------------------------------------------------

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _listen(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.lossy = False
        self._listener = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._listener.close()
        for link in self._links:
            link.reset()
        serving = [link.serving for link in self._links]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _partition(self, lossy: bool) -> None:
        self.lossy = lossy
        self._open.clear()

    async def _heal(self) -> None:
        self.lossy = False
        self._open.set()
        for link in self._links:
            if link.has_lost:
                link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = Link(self, reader, writer, task)
        self._links.add(link)
        try:
            await link.serve()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # either side has gone
        finally:
            link.reset()
            self._links.discard(link)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._open.wait()
        return await asyncio.open_connection(self._server.hostname, self._server.port)

    async def gate(self, link: Link) -> bool:
        """Wait while nothing gets through; whether what waited gets through now."""
        if self._open.is_set():
            return True
        if self.lossy:
            link.has_lost = True
            return False
        await self._open.wait()
        return not link.has_lost

    def moment(self, link: Link) -> Moment | None:
        moment = self._choose(link.application, link.statement) if self._choose else None
        if moment is not None:
            self.cuts[f"{moment}: {link.statement}"] += 1
        return moment


class Link:
    """One client's connection, and the one to the server that stands for it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serving: asyncio.Task[None]
    ) -> None:
        self.serving = serving
        self.application = ""
        self.statement = ""  # under way
        self.has_lost = False
        self._proxy = proxy
        self._prepared: dict[bytes, str] = {}
        self._doomed = False  # cut when the server has answered
        self._client = reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def reset(self) -> None:
        for side in (self._client, self._server):
            if side is not None:
                side[1].transport.abort()

    async def serve(self) -> None:
        greeting = await self._greeting()
        self._server = await self._proxy.connect()
        self._server[1].write(greeting)
        ways = [asyncio.ensure_future(way) for way in (self._to_the_server(), self._to_the_client())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _greeting(self) -> bytes:
        """The startup packet. Wishes for encryption are refused here, so that we can read what follows."""
        reader, writer = self._client
        while True:
            head = await reader.readexactly(8)
            length, code = struct.unpack("!ii", head)
            if code not in (SSL_REQUEST, GSS_REQUEST):
                break
            writer.write(b"N")
        body = await reader.readexactly(length - 8)
        names_and_values = body.split(b"\0")
        pairs = dict(zip(names_and_values[::2], names_and_values[1::2], strict=False))
        self.application = pairs.get(b"application_name", b"").decode()
        return head + body

    # --- to the server ---------------------------------------------------------------------------------------------

    async def _to_the_server(self) -> None:
        assert self._server is not None
        writer, executes = self._server[1], False
        with suppress(EOFError):
            while True:
                kind, message = await _message(self._client[0])
                executes |= self._read(kind, message)
                moment = None
                if kind in ENDS_A_STATEMENT and executes:
                    moment, executes = self._proxy.moment(self), False
                if await self._proxy.gate(self):
                    writer.write(message)
                    await writer.drain()
                if moment == "sent":
                    break
                self._doomed |= moment == "answered"
        # The client has gone: what it sent before still arrives, as it would by a network.
        if await self._proxy.gate(self):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _read(self, kind: bytes, message: bytes) -> bool:
        """Keep in mind what statement is under way; whether this executes it."""
        if kind == PARSE:
            name, text, _ = message[5:].split(b"\0", 2)
            self._prepared[name] = text.decode(errors="replace")
        elif kind == BIND:
            _portal, name, _ = message[5:].split(b"\0", 2)
            self.statement = self._prepared.get(name, "")
        elif kind == QUERY:
            self.statement = message[5:-1].decode(errors="replace")
        return kind in (EXECUTE, QUERY)

    # --- to the client ---------------------------------------------------------------------------------------------

    async def _to_the_client(self) -> None:
        assert self._server is not None
        reader, writer = self._server[0], self._client[1]
        while True:
            kind, message = await _message(reader)
            if self._doomed:
                if kind == READY:
                    return
                continue
            if await self._proxy.gate(self):
                writer.write(message)
                await writer.drain()
            if kind == READY and self.statement:
                self._proxy.passed[self.statement] += 1


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next one, whole.

    Raises:
        EOFError: there is none.
    """
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)
