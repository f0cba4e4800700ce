"""
Sessions of a server that several clients have, one after the other: who says good-bye leaves his, put back to how it
was when it began, to the next who would begin one like it.

To begin a session takes a server ten milliseconds of a processor, and twenty more until it knows our functions; a test
has four of them and more. Only for what asyncpg connects within this process, and only to databases that are kept. Who
goes without a good-bye ends his session, as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PATIENCE = 60.0
GOODBYE = b"X\0\0\0\4"
_READY = b"Z\0\0\0\5I"  # for a question, and in no transaction
_PID = b"K\0\0\0\x0c"

# What `discard all` does, but for the plans: those of functions are dear, and the schema is as it was.
_RESET = (
    b"rollback; close all; set session authorization default; reset all; deallocate all; unlisten *;"
    b" select pg_advisory_unlock_all(); discard temp; discard sequences; select 'as new'\0"
)
_WAS_RESET = b"\0\0\0\6as new"


@dataclass(frozen=True)
class Kind:
    """Sessions of one kind are alike when they begin, but for the name of the application."""

    database: str
    user: str
    settings: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, params: Any) -> Self:
        settings = (params.server_settings or {}).items()
        return cls(params.database, params.user, frozenset(item for item in settings if item[0] != "application_name"))


@dataclass
class Session:
    """One that nobody has."""

    greeting: bytes  # what the server said when it began
    socket: socket.socket
    _known: bool = False

    @property
    def pid(self) -> int:
        at = self.greeting.rindex(_PID) + len(_PID)
        return int.from_bytes(self.greeting[at : at + 4])

    def put_back(self) -> bool:
        """Have it be as it was. False: it has ended."""
        with contextlib.suppress(OSError):
            self.socket.send(b"Q" + (len(_RESET) + 4).to_bytes(4) + _RESET)
            return True
        return False

    def is_as_new(self) -> bool:
        """Whether it was put back, as soon as that is known."""
        if self._known:  # and it has said nothing since, as one does that is ended
            return not select.select([self.socket], [], [], 0)[0]
        heard = b""
        with contextlib.suppress(OSError):
            while not (heard.endswith(_READY) and _WAS_RESET in heard):
                if not select.select([self.socket], [], [], PATIENCE)[0]:
                    return False
                heard += (more := self.socket.recv(1 << 16))
                if not more:
                    return False
            self._known = True
        return self._known


class Sessions:
    """Those of a server at a port of 127.0.0.1, that is asked by way of a file: for the same, a processor has less to
    do than by an address."""

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._file = str(folder / f".s.PGSQL.{port}")
        self._kept: dict[str, dict[Kind, list[Session]]] = {}  # by database
        self._lock = threading.Lock()
        self._connect: Any = None
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def __enter__(self) -> Self:
        driver = _driver()
        self._connect, driver._connect_addr = driver._connect_addr, self._connected
        return self

    def __exit__(self, *_: object) -> None:
        _driver()._connect_addr = self._connect
        for database in tuple(self._kept):
            self.forget(database)

    def keep(self, database: str) -> None:
        """From now on, sessions in it."""
        self._kept.setdefault(database, {})

    def forget(self, database: str) -> None:
        """... and now no longer: those that nobody has end."""
        with self._lock:
            kept = self._kept.pop(database, {})
        for session in (session for sessions in kept.values() for session in sessions):
            session.socket.close()

    def idle(self, database: str) -> list[int]:
        """The server's processes, of sessions that are as new and that nobody has. It waits until they are."""
        with self._lock:
            kept = self._kept[database]
            for kind, sessions in kept.items():
                kept[kind] = [session for session in sessions if session.is_as_new() or session.socket.close()]
            return [session.pid for sessions in kept.values() for session in sessions]

    def leave(self, kind: Kind, greeting: bytes, number: int) -> None:
        """Somebody goes, whose socket has this number."""
        session = Session(greeting, socket.socket(fileno=os.dup(number)))
        with self._lock:
            kept = self._kept.get(kind.database)
            if kept is not None and session.put_back():
                kept.setdefault(kind, []).append(session)
                return
        session.socket.close()

    # --- behind the scenes -------------------------------------------------------------------------------------------

    async def _connected(self, *, addr: Any, loop: Any, params: Any, config: Any, **classes: Any) -> Any:
        """Instead of asyncpg's own."""
        if addr != ("127.0.0.1", self._port) or params.ssl or params.database not in self._kept:
            return await self._connect(addr=addr, loop=loop, params=params, config=config, **classes)
        from asyncpg.protocol import Protocol

        kind = Kind.of(params)
        session = self._take(kind)
        known = loop.create_future()
        protocol = Protocol(addr, known, params, classes["record_class"], loop)
        where = {"sock": session.socket} if session else {"path": self._file}
        greeting = session.greeting if session else b""
        transport, _ = await loop.create_unix_connection(lambda: _Greeting(self, kind, protocol, greeting), **where)
        try:
            await known
        except BaseException:
            transport.abort()
            raise
        connection = classes["connection_class"](protocol, transport, loop, addr, config, params)
        protocol.set_connection(connection)
        return connection

    def _take(self, kind: Kind) -> Session | None:
        with self._lock:
            sessions = self._kept.get(kind.database, {}).get(kind, [])
            while sessions:
                session = sessions.pop()
                if session.is_as_new():
                    return session
                session.socket.close()
        return None

    def _leave_to_parent(self) -> None:
        """In a fork of us."""
        self._lock = threading.Lock()
        for database in tuple(self._kept):
            self.forget(database)


def _driver() -> Any:
    """The module of asyncpg where connections are made."""
    from asyncpg import connect_utils

    return connect_utils


class _Greeting(asyncio.Protocol):
    """Between a connection and its protocol until that has been greeted: by the server, or by what the server said to
    who had the session first."""

    def __init__(self, sessions: Sessions, kind: Kind, protocol: Any, greeting: bytes) -> None:
        self.sessions = sessions
        self.kind = kind
        self.greeting = greeting
        self._known = bool(greeting)
        self._protocol = protocol
        self._transport: Any = None
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._protocol.connection_made(_Transport(transport, self))

    def begin(self, startup: Any) -> None:
        if self._known:
            self.loop.call_soon(self._greeted, self.greeting)
        else:
            self._transport.write(startup)

    def data_received(self, data: bytes) -> None:
        self.greeting += data
        if self.greeting.endswith(_READY):
            self._greeted(data)
        else:
            self._protocol.data_received(data)

    def _greeted(self, data: bytes) -> None:
        self._transport.set_protocol(self._protocol)
        self._protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


class _Transport:
    """A transport that keeps a good-bye to itself, and leaves."""

    def __init__(self, transport: Any, greeting: _Greeting) -> None:
        self._transport = transport
        self._greeting = greeting
        self._begun = False
        self._leaving: asyncio.Handle | None = None
        self.writelines = transport.writelines

    def write(self, data: Any) -> None:
        if not self._begun:
            self._begun = True
            self._greeting.begin(data)
        elif len(data) == len(GOODBYE) and bytes(data) == GOODBYE:
            self._leaving = self._greeting.loop.call_soon(self._leave)
        else:
            self._transport.write(data)

    def _leave(self) -> None:
        self._leaving = None
        if not self._transport.is_closing():
            number = self._transport.get_extra_info("socket").fileno()
            self._greeting.sessions.leave(self._greeting.kind, self._greeting.greeting, number)
            self._transport.abort()

    def abort(self) -> None:
        if self._leaving is not None:  # it doesn't wait for an answer: there may be more that it doesn't wait for
            self._leaving.cancel()
            self._transport.write(GOODBYE)
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
