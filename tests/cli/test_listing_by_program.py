"""`fanwood.runs.list`, which is `fanwood runs ls` for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fanwood import Fanwood, RunState, UsageError
from fanwood.store import listing as pages


@pytest.fixture
def client(stocked, make_app) -> Fanwood:
    return make_app(local_worker=False)


def test_all_runs(stocked, make_app, monkeypatch):
    stock = stocked(children=40, queued=5)
    runs = make_app(local_worker=False).runs
    monkeypatch.setattr("fanwood.sdk.listing.PAGE", 7)
    monkeypatch.setattr(pages, "WALK", 3)
    everything = [*stock.queued[::-1], *stock.children[::-1], stock.root]
    assert [run.id for run in runs.list(all_runs=True)] == everything
    assert [run.id for run in runs.list(all_runs=True, limit=2**63)] == everything
    assert [run.id for run in runs.list(limit=1_000_000)] == [*stock.queued[::-1], stock.root]
    assert [run.id for run in runs.list(all_runs=True, task_name="shop")] == [stock.root]
    [waiting, *_] = runs.list(all_runs=True, status="waiting")
    assert (waiting.id, waiting.status, waiting.busy_seconds) == (stock.children[34], RunState.WAITING, 1.5)
    assert waiting.due_at is not None
    assert waiting.due_at > datetime.now(UTC)
    assert runs.get(stock.root).due_at is None
    assert [child.id for child in runs.children(stock.root)] == stock.children
    assert [child.id for child in runs.children(stock.root, limit=10)] == stock.children[:10]
    assert len(runs.children(stock.root, limit=2**63)) == 40


@pytest.mark.parametrize("asked", [{"all_runs": True}, {"all_runs": True, "status": RunState.FAILED}, {}])
def test_page_after_page(stocked, make_app, asked):
    stocked(children=50, queued=9)
    runs = make_app(local_worker=False).runs
    whole = [run.id for run in runs.list(**asked, limit=1000)]
    found, after = list[str](), None
    while page := runs.list(**asked, limit=4, after=after):
        found += [run.id for run in page]
        after = page[-1].id
    assert found == whole != []


async def test_twins(stocked, make_app):
    stock = stocked(queued=2)
    runs = make_app(local_worker=False).runs
    assert [run.id for run in await runs.aio_list(metadata={"customer": 8})] == stock.queued[::-1]
    assert [run.id for run in await runs.aio_list(after=stock.queued[0])] == [stock.root]
    assert len(await runs.aio_list(all_runs=True)) == 13


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({}, True),
        ({"customer": 7}, True),
        ({"customer": "7"}, False),
        ({"customer": 7, "name": "7", "none": None}, True),
        ({"tags": {"b": "x", "a": [1, 2]}}, True),
        ({"tags": {"b": "x", "a": (1, 2)}}, True),
        ({"customer": 2**63}, False),
        ({"": 1}, False),
        ({"a'b\"c": "d"}, False),
    ],
)
def test_metadata(stocked, make_app, metadata, found):
    stock = stocked()
    assert [run.id for run in make_app(local_worker=False).runs.list(metadata=metadata)] == ([stock.root] * found)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"limit": 0}, "limit must be a whole number from 1 on, and is 0"),
        ({"limit": -(2**63)}, "limit must be a whole number from 1 on"),
        ({"limit": 1.5}, "limit must be a whole number from 1 on, and is 1.5"),
        ({"limit": True}, "limit must be a whole number from 1 on, and is True"),
        ({"limit": None}, "limit must be a whole number from 1 on, and is None"),
        ({"after": "01a2"}, "after must be the id of a run: '01a2' is not a run id"),
        ({"after": ""}, "after must be the id of a run: '' is not a run id"),
        ({"after": 7}, "after must be the id of a run: 7 is not a run id"),
        ({"after": "0192f3a1-0000-7000-8000-000000000000"}, "after must be the id of a run: "),
        ({"metadata": {"a": float("nan")}}, "metadata must be JSON: it can't be encoded: metadata.a: nan"),
        ({"metadata": {"a": {"b": [object()]}}}, "metadata must be JSON: it can't be encoded: metadata.a.b[0]: "),
        ({"metadata": {7: 1}}, "metadata must be JSON: it can't be encoded: metadata[7]: the key is of type int"),
        ({"metadata": {"a": "\ud800"}}, "metadata must be JSON: it can't be encoded: metadata.a: the text has a lone"),
        ({"metadata": [("a", 1)]}, "metadata must be a dict such as"),
        ({"metadata": "a=1"}, "metadata must be a dict such as"),
        ({"status": "done"}, "There is no state 'done'; there are QUEUED, RUNNING, WAITING, "),
        ({"status": 9}, "There is no state 9; there are "),
        ({"since": "soon"}, "since must be a duration: seconds, a timedelta, or text such as"),
        ({"since": float("nan")}, "since must be a finite number of seconds, and is nan"),
        ({"since": datetime.min}, "since must be a datetime of our times, and is "),
        ({"task_name": ""}, "task_name must be a task's name, and is ''"),
        ({"task_name": 7}, "task_name must be a task's name, and is 7"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_what_can_not_be_asked_for(client: Fanwood, asked, message):
    with pytest.raises(UsageError) as caught:
        client.runs.list(**asked)
    assert str(caught.value).startswith(message)


def test_times(stocked, make_app):
    stock = stocked()
    runs = make_app(local_worker=False).runs
    now = datetime.now(UTC)
    for since in (now - timedelta(hours=1), datetime.min.replace(tzinfo=UTC), datetime(1970, 1, 1)):
        assert [run.id for run in runs.list(since=since)] == [stock.root]
    for since in (now + timedelta(hours=1), datetime.max.replace(tzinfo=UTC)):
        assert runs.list(since=since) == []


def test_cancelling_says_how_many_have_ended(stocked, make_app):
    stock = stocked(children=20)
    runs = make_app(local_worker=False).runs
    assert runs.cancel(stock.children[3]) == 0
    assert runs.cancel(stock.children[4]) == 1
    assert runs.cancel(stock.root) == 6
    assert runs.cancel(stock.root) == 0
    assert {run.status for run in runs.list(all_runs=True)} == set(RunState) - {
        RunState.QUEUED, RunState.RUNNING, RunState.WAITING,
    }  # fmt: skip
