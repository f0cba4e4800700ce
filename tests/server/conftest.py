"""A store with trees of two namespaces, made once, and applications that show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fanwood import Settings, SystemClock, SystemIds
from fanwood.ids import id_text
from fanwood.model.commands import Batch, LogLine, Outcome, Spawn, SpawnKind, TaskInfo, WorkerInfo
from fanwood.model.states import RunState
from fanwood.server.app import create
from fanwood.server.identity import Token, digest
from fanwood.server.options import Options
from fanwood.store.opening import store_for
from fanwood.store.store import Store
from tests.server.asgi import Client

OWNER = "the-owner's-token"
TOKENS = {role: f"fw_{role}" for role in ("viewer", "operator", "admin")}
BOUND, LATE = "fw_of-one-namespace", "fw_expired"
SECRETS = '{"n":1,"password":"hunter2","nested":{"apiKey":"k-123","max_tokens":5}}'
ERROR = '{"kind":"failed","type":"ValueError","message":"token=abc123 refused","traceback":"password: hunter2"}'

Make = Callable[..., Client]


class World:
    """Ids of a tree of the namespace `shop`, and of one of `bank`: root, a child that failed, one that completed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shop: list[str] = []
        self.bank: list[str] = []


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree is seen whole by the first look at it, also on a machine that is busy with something else."""
    monkeypatch.setattr("fanwood.lens.lens.FIRST", 60)
    monkeypatch.setattr("fanwood.lens.lens.COLD", 60)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(f"sqlite:///{tmp_path_factory.mktemp('server')}/fanwood.db")
    asyncio.run(_fill(found))
    return found


async def _fill(world: World) -> None:
    clock, ids = SystemClock(), SystemIds()
    store = store_for(Settings.load(database_url=world.url), clock)
    await store.open(lambda: None)
    for name, found in (("shop", world.shop), ("bank", world.bank)):
        tasks = [TaskInfo(f"{name}/{task}", "task", f"{task} of {name}", schema="{}") for task in ("order", "item")]
        info = WorkerInfo(f"worker of {name}", "far/1", 1, 9, tuple(task.name for task in tasks), lease=3_600_000_000)
        worker = await store.register(info, tasks)
        root, failed, done = (ids.new_id() for _ in range(3))
        order = SpawnKind(f"{name}/order", metadata=f'{{"of":"{name}"}}')
        await store.commit(worker, Batch(spawns=[Spawn(order, root, None, SECRETS, claimed=True)]))
        item = SpawnKind(f"{name}/item", parent_id=root, parent_attempt=1, root_id=root, depth=1)
        born = [
            Spawn(item, id_, bytes([n]) * 16, SECRETS, index=n, child_key=f"{name} {n}", claimed=True)
            for n, id_ in enumerate((failed, done))
        ]
        await store.commit(worker, Batch(spawns=born))
        ends = [
            Outcome(failed, 1, RunState.FAILED, error=ERROR.replace("refused", f"refused by {name}")),
            Outcome(done, 1, RunState.COMPLETED, output=f'"{name}"'),
        ]
        logs = [LogLine(root, 1, clock.now(), "info", f"{name}: authorization: Bearer abc.def")]
        await store.commit(worker, Batch(outcomes=ends, logs=logs))
        found += [id_text(root), id_text(failed), id_text(done)]
    await store.close()


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens.jsonl"
    write_tokens(
        path,
        *(Token(role, digest(secret), role) for role, secret in TOKENS.items()),
        Token("shop's", digest(BOUND), "operator", "shop"),
        Token("late", digest(LATE), "admin", expires=1),
    )
    return path


def write_tokens(path: Path, *tokens: Token) -> None:
    import msgspec

    path.write_bytes(b"".join(msgspec.json.encode(token) + b"\n" for token in tokens))


@pytest.fixture
async def make(world: World, tokens: Path) -> AsyncIterator[Make]:
    """Makes applications that show the world; the client has the owner's token."""
    made: list[Client] = []

    def make(url: str = world.url, namespace: str = "", **options: Any) -> Client:
        given = Options(**{"token": OWNER, "tokens": tokens, **options})
        made.append(Client(create(Settings.load(database_url=url, namespace=namespace), given), OWNER))
        return made[-1]

    yield make
    for client in made:
        await client.app.close()


@pytest.fixture
def client(make: Make) -> Client:
    return make()


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Of a store of the test's own."""
    url = request.getfixturevalue("postgres_url" if request.param == "postgres" else "url")
    return Settings.load(database_url=url)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """That store."""
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    yield store
    await store.close()
