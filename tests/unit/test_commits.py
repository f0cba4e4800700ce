"""What becomes of a batch that the store refuses."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from fanwood import Settings
from fanwood.engine import commits as module
from fanwood.engine.commits import Commits
from fanwood.engine.health import Health
from fanwood.engine.inbox import Inbox, SpawnRequest
from fanwood.engine.spending import Together
from fanwood.errors import (
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    StoreValueError,
)
from fanwood.model.budgets import Spend
from fanwood.model.commands import (
    Batch,
    ClaimRequest,
    Committed,
    LogLine,
    Outcome,
    Record,
    Spawn,
    SpawnKind,
    Suspend,
)
from fanwood.model.states import RunState

Judge = Callable[[Batch], Exception | None]


class Harness:
    """Commits of a store that refuses what `judge` says; what went through, and what was answered."""

    def __init__(self, judge: Judge, *, embedded: bool = True) -> None:
        self.embedded, self.url = embedded, "store:"
        self.judge = judge
        self.tries = 0
        self.stored: list[Any] = []
        self.answers: dict[bytes, BaseException | None] = {}
        self.commits = Commits(self, Settings(outage_patience=3600), Inbox(), Health(lambda: 0))  # pyright: ignore[reportArgumentType]  # as much of a store as it needs

    async def commit(self, _worker: int, batch: Batch) -> Committed:
        self.tries += 1
        error = self.judge(batch)
        if error is not None:
            raise error
        self.stored += [*batch.spawns, *batch.outcomes, *batch.logs, *batch.watch]
        return Committed()

    async def fail_unreadable(self, _tasks: str) -> int:
        return 0

    def request(self, name: bytes, *, parent: bytes | None = b"parent") -> SpawnRequest:
        spawn = Spawn(SpawnKind("t", parent_id=parent), name, None, "{}")

        def answered(error: BaseException | None, *_: Any) -> None:
            self.answers[name] = error

        return SpawnRequest([spawn], kinds=[spawn.kind], on_done=answered)

    def deliver(self, _batch: Batch, requests: list[SpawnRequest], _committed: Committed) -> None:
        for request in requests:
            request.answer(None)

    async def __call__(self, requests: list[SpawnRequest], **about: Any) -> bool:
        batch = Batch(spawns=[spawn for request in requests for spawn in request.spawns], **about)
        return await asyncio.wait_for(self.commits.commit(1, batch, requests, self.deliver), 60)

    @property
    def refused(self) -> set[bytes]:
        return {name for name, error in self.answers.items() if error is not None}


def holding(name: bytes, error: Exception) -> Judge:
    return lambda batch: error if any(spawn.id == name for spawn in batch.spawns) else None


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.0,) * 5)


def outcome(number: int) -> Outcome:
    return Outcome(b"%d" % number, 1, RunState.COMPLETED, f"{number}")


@pytest.mark.parametrize("at_fault", [0, 37, 99])
async def test_one_request_with_a_value_that_does_not_fit_fails_alone(at_fault: int) -> None:
    harness = Harness(holding(b"%d" % at_fault, StoreValueError("too large")))
    requests = [harness.request(b"%d" % n) for n in range(100)]
    whole = await harness(requests, outcomes=[outcome(1)], logs=[LogLine(b"r", 1, 1, "info", "m")], watch=[b"w"])
    assert not whole
    assert harness.refused == {b"%d" % at_fault}
    assert len(harness.answers) == 100
    assert len(harness.stored) == 99 + 3
    assert harness.tries < 30


async def test_a_claim_that_brings_too_much_takes_less_the_next_time() -> None:
    """Nothing is written: it is due to what is read."""
    limits: list[int] = []

    def judge(batch: Batch) -> Exception | None:
        assert batch.claim is not None
        limits.append(batch.claim.limit)
        return StoreValueError("too big") if batch.claim.limit > 60 else None

    harness = Harness(judge)
    wholes = [await harness([], claim=ClaimRequest("[]", 300, 30)) for _ in range(6)]
    assert limits == [300, 150, 75, 37, 74, 37]
    assert wholes == [False, False, False, True, False, True]


async def test_a_task_that_can_not_be_claimed_stops_no_other() -> None:
    """A page of its queue is damaged: whoever looks there fails."""
    claims: list[list[str]] = []
    damaged = True

    def judge(batch: Batch) -> Exception | None:
        if batch.claim is None:
            return None
        claims.append(json.loads(batch.claim.tasks))
        return StoreError("XX001") if damaged and "b" in claims[-1] else None

    harness = Harness(judge)
    for _ in range(7):
        await harness([], claim=ClaimRequest('["a","b","c"]', 10, 1))
    assert claims[0] == ["a", "b", "c"]
    assert [tasks[0] for tasks in claims[1:]] == ["b", "c", "a", "b", "c", "a"]
    damaged = False
    for _ in range(4):
        await harness([], claim=ClaimRequest('["a","b","c"]', 10, 1))
    assert claims[-1] == ["a", "b", "c"]


async def test_a_run_that_can_not_be_read_ends_no_engine() -> None:
    harness = Harness(lambda batch: StoreValueError("too big") if batch.claim or batch.mail else None)
    assert not await harness([], claim=ClaimRequest("[]", 1))
    assert not await harness([], mail=True)
    assert await harness([harness.request(b"a")])


async def test_an_outcome_that_does_not_fit_fails_its_run_and_no_other() -> None:
    harness = Harness(
        lambda batch: StoreValueError("too large") if any(o.output == "7" for o in batch.outcomes) else None
    )
    await harness([harness.request(b"a")], outcomes=[outcome(n) for n in range(20)])
    states = {o.run_id: o.state for o in harness.stored if isinstance(o, Outcome)}
    assert [id_ for id_, state in states.items() if state is RunState.FAILED] == [b"7"]
    assert (len(states), harness.refused) == (20, set())


async def test_what_was_to_go_on_and_fails_as_it_does_not_fit_is_told_to_its_parent_wherever_that_is() -> None:
    """Nobody had asked whether that executes here: it was no end."""
    harness = Harness(lambda batch: StoreValueError("no") if any(o.output == "7" for o in batch.outcomes) else None)
    again = Outcome(b"again", 1, RunState.QUEUED, "7", renews=True)
    ends = Outcome(b"ends", 1, RunState.COMPLETED, "7", parent="P")
    await harness([], outcomes=[again, ends])
    told = {o.run_id: (o.state, o.local) for o in harness.stored if isinstance(o, Outcome)}
    assert told == {b"again": (RunState.FAILED, False), b"ends": (RunState.FAILED, True)}


@pytest.mark.parametrize(
    "error",
    [
        StoreError("XX000"),
        StoreReadOnlyError("42501"),
        StoreBusyError("busy"),
        KeyError("x"),
        MemoryError(),
        OSError(5),
    ],
    ids=repr,
)
@pytest.mark.parametrize("times", [1, 5, 40])
async def test_a_bad_minute_of_the_store_fails_nothing_that_runs(error: Exception, times: int) -> None:
    counter = itertools.count(1)
    harness = Harness(lambda _: error if next(counter) <= times else None)
    requests = [harness.request(b"%d" % n) for n in range(9)]
    await harness(requests, outcomes=[outcome(n) for n in range(9)])
    assert harness.refused == set()
    assert [o.state for o in harness.stored if isinstance(o, Outcome)] == [RunState.COMPLETED] * 9
    assert len(harness.stored) == 18


async def test_new_roots_are_told_of_trouble_that_lasts() -> None:
    counter = itertools.count(1)
    harness = Harness(lambda _: StoreError("XX000") if next(counter) <= 40 else None)
    await harness([harness.request(b"root", parent=None), harness.request(b"child")])
    assert harness.refused == {b"root"}
    assert [spawn.id for spawn in harness.stored] == [b"child"]


@pytest.mark.parametrize("error", [StoreError("permission denied"), RuntimeError("a fault of ours")], ids=repr)
async def test_new_roots_are_told_soon_if_a_server_is_there_and_says_no(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Not after `outage_patience`, an hour here. What runs waits, and goes on."""
    monkeypatch.setattr(module, "ROOTS_PATIENCE", 0.05)
    harness = Harness(lambda _: None if harness.refused else error, embedded=False)
    await harness([harness.request(b"root", parent=None), harness.request(b"child")], outcomes=[outcome(1)])
    assert harness.refused == {b"root"}
    assert harness.answers[b"child"] is None
    assert len(harness.stored) == 2


async def test_what_nobody_understands_is_kept_apart_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its own fault for sure nor the store's: it doesn't fail, and nobody waits for it."""
    monkeypatch.setattr(module, "APART_SECONDS", 0.0)
    harness = Harness(lambda batch: KeyError("?") if any(o.output == "7" for o in batch.outcomes) else None)
    await harness([], outcomes=[outcome(n) for n in range(20)])
    assert len(harness.stored) == 19
    assert harness.commits.due_again is not None
    assert not harness.commits._apart[0].item.what.local  # its parent may have gone on elsewhere by then
    await harness.commits.commit_again(1, harness.deliver)
    assert len(harness.stored) == 19
    harness.judge = lambda _: None
    await harness.commits.commit_again(1, harness.deliver)
    assert {o.state for o in harness.stored} == {RunState.COMPLETED}
    assert (len(harness.stored), harness.commits.due_again) == (20, None)


async def test_a_cancelled_error_that_is_not_about_us_is_trouble() -> None:
    counter = itertools.count(1)

    def judge(_: Batch) -> Exception | None:
        if next(counter) <= 2:
            raise asyncio.CancelledError
        return None

    harness = Harness(judge)
    await harness([harness.request(b"child")])
    assert harness.answers == {b"child": None}


async def test_a_batch_whose_answer_may_have_been_lost_is_not_split() -> None:
    """Only the same one is not done twice: it may have been done, though what came then says nothing of it."""
    sent: list[Batch] = []
    troubles = iter([StoreUnavailableError("gone"), *[StoreError("28000")] * 9])

    def judge(batch: Batch) -> Exception | None:
        sent.append(batch)
        return next(troubles, None)

    harness = Harness(judge)
    await harness([harness.request(b"a"), harness.request(b"b")], outcomes=[outcome(1)])
    assert all(batch is sent[0] for batch in sent)
    assert len(sent) == 11
    assert harness.refused == set()


async def apart(harness: Harness, requests: list[SpawnRequest], **about: Any) -> None:
    """Leave what does not go through to be tried by itself; now."""
    await harness(requests, **about)
    assert harness.commits.due_again is not None
    for one in harness.commits._apart:
        one.due = 0.0


async def test_what_is_kept_apart_is_done_once_though_its_answer_is_lost() -> None:
    """Only the same batch is not done twice."""
    met: list[Batch] = []
    strange: list[Exception] = [StoreError("strange")] * 40

    def judge(batch: Batch) -> Exception | None:
        if not any(spawn.id == b"7" for spawn in batch.spawns):
            return None
        if strange:
            return strange.pop()
        met.append(batch)
        troubles = [StoreUnavailableError("away"), StoreUnavailableError("away"), *[StoreError("strange")] * 4]
        return troubles[len(met) - 1] if len(met) <= len(troubles) else None

    harness = Harness(judge, embedded=False)
    strange = [StoreError("strange")] * 40
    await apart(harness, [harness.request(str(n).encode()) for n in range(12)])
    strange.clear()
    await harness.commits.commit_again(1, harness.deliver)
    assert len(met) == 7  # what comes after it says nothing of whether it was done
    assert len({id(batch) for batch in met}) == 1
    assert harness.answers[b"7"] is None
    assert harness.commits.due_again is None


async def test_a_value_that_does_not_fit_is_found_out_later_as_well() -> None:
    """What was kept apart for reasons that nobody knew turns out to hold it."""
    errors: list[Exception] = []

    def judge(batch: Batch) -> Exception | None:
        bad = any(spawn.id == b"7" for spawn in batch.spawns) or any(o.output == "7" for o in batch.outcomes)
        return errors[0] if bad else None

    harness = Harness(judge)
    errors.append(StoreError("strange"))
    await apart(harness, [harness.request(str(n).encode()) for n in range(12)], outcomes=[outcome(n) for n in range(9)])
    errors[0] = StoreValueError("too large")
    await harness.commits.commit_again(1, harness.deliver)
    assert harness.refused == {b"7"}
    await harness.commits.commit_again(1, harness.deliver)
    (failed,) = [o for o in harness.stored if isinstance(o, Outcome) and o.run_id == b"7"]
    assert failed.state is RunState.FAILED
    assert harness.commits.due_again is None


async def test_new_roots_in_a_batch_that_is_split_do_not_wait_for_a_full_disk() -> None:
    """Neither those of the part that is tried, nor those behind it; and children go through when there is room."""
    tries: list[int] = []

    def judge(batch: Batch) -> Exception | None:
        if len(batch.spawns) == 8:
            return StoreValueError("too large")
        tries.append(len(batch.spawns))
        return StoreFullError("full") if len(tries) < 12 else None

    harness = Harness(judge)
    roots = [harness.request(f"root {n}".encode(), parent=None) for n in range(4)]
    children = [harness.request(f"child {n}".encode()) for n in range(4)]
    await harness([each for pair in zip(children, roots, strict=True) for each in pair])
    assert harness.refused == {f"root {n}".encode() for n in range(4)}
    assert {spawn.id for spawn in harness.stored} == {f"child {n}".encode() for n in range(4)}


async def test_a_watch_that_the_store_refuses_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody waits for what comes of it, who was told nothing where it was left out."""
    monkeypatch.setattr(module, "APART_SECONDS", 0.0)
    harness = Harness(lambda batch: StoreValueError("damaged") if b"bad" in batch.watch else None)
    await harness([], outcomes=[outcome(1)], watch=[b"good", b"bad"])
    assert [w for w in harness.stored if isinstance(w, bytes)] == [b"good"]
    assert harness.commits.due_again is not None
    harness.judge = lambda _: None
    await harness.commits.commit_again(1, harness.deliver)
    assert [w for w in harness.stored if isinstance(w, bytes)] == [b"good", b"bad"]
    assert harness.commits.due_again is None


async def test_of_spends_that_go_together_one_that_is_refused_is_alone() -> None:
    class Refusing:
        url = "store:"

        async def spend(self, spends: list[Spend]) -> list[None]:
            if any(spend.run_id == b"bad" for spend in spends):
                raise StoreValueError("damaged")
            return [None] * len(spends)

    together, store = Together(), cast("Any", Refusing())
    asked = [Spend(name, 1, name, {"usd": 1}) for name in (b"one", b"bad", b"two")]
    told = await asyncio.gather(*(together.spend(store, each) for each in asked), return_exceptions=True)
    assert told[0] is told[2] is None
    assert isinstance(told[1], StoreValueError)


PARTS = ("logs", "spawns", "records", "outcomes", "suspends", "deadlines", "watch", "unwatch", "heard", "blocks")
ANSWERED, LET_GO = ("spawns", "records", "outcomes"), ("logs", "deadlines")


def one_of_each(number: int) -> dict[str, Any]:
    """Of one run, all that there may be in a commit."""
    id_ = b"%d" % number
    kind = SpawnKind("t", parent_id=id_)
    return {
        "logs": LogLine(id_, 1, 1, "info", "m"),
        "spawns": Spawn(kind, id_, None, "{}"),
        "records": Record(kind, id_, id_, "", RunState.COMPLETED),
        "outcomes": Outcome(id_, 1, RunState.COMPLETED, f"{number}"),
        "suspends": Suspend(id_, 1, [], 1),
        "deadlines": (id_, 1, 1),
        "watch": id_ + b" watch",
        "unwatch": id_ + b" unwatch",
        "heard": id_ + b" heard",
        "blocks": (id_, 1),
    }


@pytest.mark.parametrize(
    "error", [StoreValueError("too large"), StoreError("nobody knows why")], ids=["value", "unknown"]
)
@pytest.mark.parametrize("field", PARTS)
async def test_whatever_of_a_run_is_refused_that_of_all_others_is_done(
    field: str, error: StoreError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said to whoever waits for it, let go of, or tried again by itself."""
    monkeypatch.setattr(module, "APART_SECONDS", 0.0)
    done: list[tuple[str, Any]] = []
    runs = [one_of_each(number) for number in range(5)]
    bad, refuses = runs[2][field], True

    def judge(batch: Batch) -> Exception | None:
        there = [(name, each) for name in PARTS for each in getattr(batch, name)]
        refused = refuses and any(
            each is bad and (field != "outcomes" or each.state is RunState.COMPLETED) for _, each in there
        )
        if refused:
            return error
        done.extend(there)
        return None

    harness = Harness(judge)
    told: dict[tuple[str, int], BaseException | None] = {}
    requests: list[SpawnRequest] = []
    for name in ("spawns", "records"):
        for number, run in enumerate(runs):

            def answered(error: BaseException | None, *_: Any, place: tuple[str, int] = (name, number)) -> None:
                told[place] = error

            asked: dict[str, Any] = {name: [run[name]]}
            requests.append(SpawnRequest(**asked, on_done=answered))
    parts: dict[str, Any] = {name: [run[name] for run in runs] for name in PARTS}
    batch = Batch(**parts)
    assert not await asyncio.wait_for(harness.commits.commit(1, batch, requests, harness.deliver), 60)

    wanted = sorted((name, number) for name in PARTS for number, run in enumerate(runs) if run[name] is not bad)
    fails_alone = isinstance(error, StoreValueError) and field in (*ANSWERED, *LET_GO)
    if fails_alone and field == "outcomes":
        assert bad.state is RunState.FAILED
        wanted = sorted([*wanted, (field, 2)])
    assert _seen(done, runs) == wanted
    assert {place for place, why in told.items() if why is not None} == (
        {(field, 2)} if fails_alone and field in ("spawns", "records") else set()
    )
    assert (harness.commits.due_again is None) == fails_alone
    refuses = False
    if not fails_alone:
        await harness.commits.commit_again(1, harness.deliver)
        assert _seen(done, runs) == sorted([*wanted, (field, 2)])
        assert harness.commits.due_again is None


def _seen(done: list[tuple[str, Any]], runs: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """What was done, and of which run; each once."""
    return sorted((name, next(n for n, run in enumerate(runs) if run[name] is each)) for name, each in done)
