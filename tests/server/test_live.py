"""The stream: pictures, what is new, going on after a break, and silence where nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fanwood import Settings, SystemClock, SystemIds
from fanwood.ids import id_text
from fanwood.model.commands import Batch, Outcome, Spawn, SpawnKind, WorkerInfo
from fanwood.model.states import RunState
from fanwood.server.identity import Token, digest
from fanwood.server.limits import STREAMS
from fanwood.server.reader import Reader
from fanwood.store.opening import store_for
from fanwood.store.store import Store
from tests.server.asgi import Client, scope_of
from tests.server.conftest import BOUND, TOKENS, Make, World, write_tokens

SOON = 120  # seconds, for what hangs


class Stream:
    """The events of one stream, as they come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = asyncio.Event()
        self._events = asyncio.Queue[tuple[str, str, Any]]()

    def take(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif self.headers["content-type"].startswith("text/event-stream"):
            for block in message.get("body", b"").decode().split("\n\n")[:-1]:
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                if fields.get("event"):
                    self._events.put_nowait(
                        (fields["event"], fields.get("id", ""), msgspec.json.decode(fields["data"]))
                    )
                else:
                    self._events.put_nowait(("comment", "", None))

    async def next(self, name: str) -> tuple[str, Any]:
        """The next one. Before a first picture there may be changes of another one, which time brings."""
        found, id_, data = "delta", "", None
        async with asyncio.timeout(SOON):
            while found == "delta":
                found, id_, data = await self._events.get()
                if name == "delta":
                    break
        assert found == name, (found, data)
        return id_, data

    @property
    def is_silent(self) -> bool:
        return self._events.empty()


@asynccontextmanager
async def following(client: Client, topics: str, last: str = "") -> AsyncIterator[Stream]:
    stream, gone = Stream(), asyncio.Event()
    headers = [*client.headers(), *([("last-event-id", last)] if last else [])]
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        stream.take(message)

    async def serve() -> None:
        await client.app(scope_of("GET", f"/api/v1/live?topics={topics}", headers, "127.0.0.1"), receive, send)
        stream.ended.set()

    task = asyncio.create_task(serve())
    try:
        yield stream
    finally:
        gone.set()
        await asyncio.wait_for(task, SOON)


class Tree:
    """A root that has children, one after another."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}/live.db"
        self.store = store_for(Settings.load(database_url=self.url), SystemClock())
        self.ids = SystemIds()
        self.root = self.ids.new_id()
        self.topic = f"tree:{id_text(self.root)}"
        self.born: list[bytes] = []

    async def open(self) -> None:
        await self.store.open(lambda: None)
        self.worker = await self.store.register(WorkerInfo("w", "h/1", 1, 9), [])
        await self.store.commit(self.worker, Batch(spawns=[Spawn(SpawnKind("t"), self.root, None, "{}", claimed=True)]))

    async def spawn(self) -> bytes:
        id_, kind = self.ids.new_id(), SpawnKind("c", parent_id=self.root, parent_attempt=1, root_id=self.root, depth=1)
        n = len(self.born)
        spawn = Spawn(kind, id_, n.to_bytes(16, "big"), "{}", index=n, claimed=True)
        await self.store.commit(self.worker, Batch(spawns=[spawn]))
        self.born.append(id_)
        return id_

    async def end(self, id_: bytes, state: RunState = RunState.COMPLETED) -> None:
        outcome = (
            Outcome(id_, 1, state, output="1") if state is RunState.COMPLETED else Outcome(id_, 1, state, error="{}")
        )
        await self.store.commit(self.worker, Batch(outcomes=[outcome]))


@pytest.fixture
async def tree(tmp_path: Path) -> AsyncIterator[Tree]:
    tree = Tree(tmp_path)
    await tree.open()
    yield tree
    await tree.store.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lens waits half a second between two steps."""
    monkeypatch.setattr("fanwood.lens.lens.PAUSE", 0.01)
    monkeypatch.setattr("fanwood.lens.lens.SHARE", 0)
    monkeypatch.setattr("fanwood.server.live.PAUSE", 0.01)
    monkeypatch.setattr("fanwood.server.looking.PAUSE", 0.01)
    monkeypatch.setattr("fanwood.server.looking.OF_LISTS", 0.01)


async def test_a_picture_and_what_is_new(make: Make, tree: Tree):
    async with following(make(tree.url), tree.topic) as stream:
        _, hello = await stream.next("hello")
        assert hello["schema"] == 1
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-store"
        id_, first = await stream.next("view")
        assert first["view"]["counts"] == {"running": 1}
        assert (first["topic"], first["version"]) == (tree.topic, id_)
        child = await tree.spawn()
        later, second = await until(stream, lambda data: "counts" in data.get("delta", {}))
        assert second["delta"]["counts"] == {"running": 2}
        assert second["version"] == later != id_
        await tree.end(child, RunState.FAILED)
        _, third = await until(stream, lambda data: "counts" in data.get("delta", {}))
        assert third["delta"]["counts"] == {"running": 1, "failed": 1}


async def until(stream: Stream, is_it: Callable[[Any], bool]) -> tuple[str, Any]:
    """The event that is meant: others may come before it, as time goes on."""
    version = ""
    while True:
        id_, data = await stream.next("delta")
        assert not version or data["of"] == version
        version = data["version"]
        if is_it(data):
            return id_, data


async def test_going_on_after_a_break(make: Make, tree: Tree):
    client = make(tree.url)
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        version, _ = await stream.next("view")
    await tree.spawn()
    async with following(client, tree.topic, version) as stream:
        await stream.next("hello")
        _, data = await until(stream, lambda data: "counts" in data["delta"])
        assert data["delta"]["counts"] == {"running": 2}
    for unknown in ("x", "x.1", version + "9", f"{version.partition('.')[0]}.-1", "." * 99):
        async with following(client, tree.topic, unknown) as stream:
            await stream.next("hello")
            assert (await stream.next("view"))[1]["view"]["counts"]["running"] == 2


async def test_several_topics_and_what_is_not_there(make: Make, world: World):
    client = make()
    missing = f"tree:{'0' * 32}"
    async with following(client, f"trees,workers,{missing},tree:{world.shop[0]}") as stream:
        await stream.next("hello")
        assert (await stream.next("gone"))[1] == {"topic": missing, "code": "run_not_found"}
        found = {(await stream.next("view"))[1]["topic"] for _ in range(3)}
        assert found == {"trees", "workers", f"tree:{world.shop[0]}"}
    for topics in ("", "nothing", "trees,x", ",".join(f"tree:{n}" for n in range(9))):
        assert (await client.ask(f"/api/v1/live?topics={topics}")).code == "bad_query"


async def test_that_a_tree_that_goes_is_gone(make: Make, tree: Tree):
    async with following(make(tree.url), tree.topic) as stream:
        await stream.next("hello")
        await stream.next("view")
        await tree.end(tree.root)
        await until(stream, lambda data: "completed" in data["delta"].get("counts", {}))
        cursor = await tree.store.begin_deleting(tree.root)
        assert cursor is not None
        while cursor is not None:
            cursor = (await tree.store.prune(1 << 60, 100, cursor)).cursor
        async with asyncio.timeout(SOON):
            while True:
                name, _, data = await stream._events.get()
                if name == "gone":
                    break
        assert data == {"topic": tree.topic, "code": "run_not_found"}


async def test_that_a_namespace_follows_only_its_own(make: Make, world: World):
    them = Client(make().app, BOUND)
    async with following(them, f"tree:{world.bank[0]},trees,workers") as stream:
        await stream.next("hello")
        assert (await stream.next("gone"))[1]["code"] == "run_not_found"
        for _ in range(2):
            assert "bank" not in str(await stream.next("view"))


async def test_that_what_is_masked_is_masked_here_too(make: Make, world: World):
    client = make()
    for token, sees in ((TOKENS["admin"], True), (TOKENS["viewer"], False)):
        async with following(Client(client.app, token), f"tree:{world.shop[0]},trees") as stream:
            await stream.next("hello")
            said = str([await stream.next("view") for _ in range(2)])
            assert "hunter2" not in said
            assert "abc123" not in said
            assert ("preview" in said) == sees


async def test_that_whoever_may_no_more_is_cut_off(make: Make, tree: Tree, tmp_path: Path, monkeypatch):
    path = tmp_path / "tokens"
    write_tokens(path, Token("ann", digest("fw_ann")))
    monkeypatch.setattr("fanwood.server.identity.RELOAD", -1.0)
    client = Client(make(tree.url, tokens=path).app, "fw_ann")
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        await stream.next("view")
        write_tokens(path)
        await tree.spawn()
        await asyncio.wait_for(stream.ended.wait(), SOON)


async def test_that_streams_end_with_the_server(make: Make, tree: Tree):
    client = make(tree.url)
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        client.app.site.live.end()
        await asyncio.wait_for(stream.ended.wait(), SOON)


async def test_that_there_are_not_too_many(make: Make, tree: Tree):
    client = make(tree.url)
    limits = client.app.site.limits
    limits._streams["owner"] = STREAMS - 1
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        assert (await client.ask(f"/api/v1/live?topics={tree.topic}")).status == 429
    limits._streams["owner"] = 0
    async with following(client, tree.topic) as stream:
        await stream.next("hello")


async def test_that_many_at_once_are_not_too_many_either(make: Make, tree: Tree):
    """All are let in before the first of them is counted; and all end."""
    client = make(tree.url)
    limits = client.app.site.limits
    limits._streams["owner"] = STREAMS - 3
    async with AsyncExitStack() as all_of_them:
        streams = [await all_of_them.enter_async_context(following(client, tree.topic)) for _ in range(12)]
        async with asyncio.timeout(SOON):
            while sum(stream.ended.is_set() for stream in streams) < 9:
                await asyncio.sleep(0.01)
        assert limits._streams["owner"] == STREAMS
    assert limits._streams["owner"] == STREAMS - 3


async def test_that_nothing_is_asked_while_nobody_looks(make: Make, tree: Tree, monkeypatch):
    client = make(tree.url)
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        await stream.next("view")
    reader = client.app.site.reader
    assert reader._watch is None
    assert not any(channel.is_followed for channel in client.app.site.live._channels.values())
    async with asyncio.timeout(SOON):
        while await reader.ask(others):  # what was cancelled over there takes some turns to end
            pass
    asked: list[int] = []
    store = reader._store
    assert store is not None
    monkeypatch.setattr(store, "briefs", lambda ids: asked.append(1))
    await tree.spawn()
    await reader.ask(others)  # a turn, in which it would have been heard of
    assert asked == []


async def others(_store: Any) -> set[Any]:
    """What else is under way on the reader's loop."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def test_that_all_who_look_share_the_looks(make: Make, tree: Tree):
    client = make(tree.url)
    async with following(client, tree.topic) as first, following(client, tree.topic) as second:
        for stream in (first, second):
            await stream.next("hello")
            await stream.next("view")
        await tree.spawn()
        one = await until(first, lambda data: "counts" in data["delta"])
        other = await until(second, lambda data: "counts" in data["delta"])
        assert one == other
    assert len(client.app.site.live._channels) == 1


async def test_who_does_something_sees_it_without_the_pauses_of_looking(make: Make, tree: Tree, monkeypatch):
    """However long a look took, and however long it is until the next one."""
    child = await tree.spawn()
    await tree.end(child, RunState.FAILED)
    client = make(tree.url)
    monkeypatch.setattr("fanwood.lens.lens.PAUSE", 600)
    monkeypatch.setattr("fanwood.lens.lens.LONGEST", 600)
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        await stream.next("view")
        answer = await client.ask(f"/api/v1/runs/{id_text(child)}/retry", "POST", body=b"{}")
        assert answer.status == 200
        _, data = await until(stream, lambda data: "counts" in data["delta"])
        assert data["delta"]["counts"] == {"failed": None, "queued": 1}


async def test_a_store_that_is_away_for_a_while(make: Make, tree: Tree, monkeypatch):
    from fanwood.errors import StoreUnavailableError

    monkeypatch.setattr("fanwood.server.live.TROUBLE", 0.01)
    client = make(tree.url)
    async with following(client, tree.topic) as stream:
        await stream.next("hello")
        await stream.next("view")

        async def away(verb):
            raise StoreUnavailableError("it is at /secret/place")

        monkeypatch.setattr(client.app.site.reader, "ask", away)
        await tree.spawn()
        async with asyncio.timeout(SOON):
            while (event := await stream._events.get())[0] != "trouble":
                pass
        assert event[2] == {"topic": tree.topic, "code": "store_unavailable"}
        monkeypatch.undo()
        async with asyncio.timeout(SOON):
            while (event := await stream._events.get())[0] != "view":
                pass
        assert event[2]["view"]["counts"] == {"running": 2}


async def test_comments_while_nothing_is_new(make: Make, world: World, monkeypatch):
    monkeypatch.setattr("fanwood.server.live.CHECK", 0.01)
    monkeypatch.setattr("fanwood.server.live.BEAT", 0.02)
    async with following(make(), "trees") as stream:
        await stream.next("hello")
        names = set()
        async with asyncio.timeout(SOON):
            while names != {"view", "comment"}:
                names.add((await stream._events.get())[0])


async def test_that_of_many_changes_one_is_heard_until_somebody_looks(settings: Settings, store: Store):
    reader, told, tells = Reader(settings, SystemClock()), asyncio.Semaphore(0), list[None]()
    reader.on_change = lambda: (tells.append(None), told.release())[1]
    me = await store.register(WorkerInfo("w", "h", 1, 1, ("t",), lease=60_000_000), [])

    async def spawn() -> None:
        await store.commit(me, Batch(spawns=[Spawn(SpawnKind("t"), SystemIds().new_id(), None, "1")]))

    try:
        async with asyncio.timeout(SOON), reader.watched():
            await reader.ask(lambda store: store.workers())
            for _ in range(2):
                await reader.attend()
                await spawn()
                await told.acquire()
                for _ in range(20):
                    await spawn()
                await reader.ask(lambda _: asyncio.sleep(0.05))  # (what was sent would be there by now)
            assert len(tells) <= 3  # (that it begins to watch may be told as well)
    finally:
        await reader.close()
