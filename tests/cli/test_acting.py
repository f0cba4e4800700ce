"""`fanwood runs cancel`, `retry` and `rm` on runs that have something in common."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from fanwood.cli import output


def ids(invoke, *options: str) -> list[str]:
    """But for those by which something was done."""
    runs = json.loads(invoke("runs", "ls", "--json", *options).stdout)["runs"]
    return [run["id"] for run in runs if not run["task"].startswith("fanwood.actions/")]


def did(result) -> tuple[int, int]:
    """To how many, and to how many not."""
    said = json.loads(result.stdout)
    return said["done"], said["left"]


@pytest.fixture
def asked(monkeypatch):
    """A person is there to answer."""
    monkeypatch.setattr(output, "can_ask", lambda: True)


@pytest.mark.parametrize("verb", ["cancel", "retry", "rm"])
def test_runs_or_filters(invoke, stocked, verb):
    stock = stocked(queued=2)
    for arguments, said in (
        ((), "error: Name a run to "),
        ((stock.root, "--task", "order"), "error: Name runs to "),
        (("--all",), "error: "),
        (("--task", "order", "--status", "failed", "--failed"), ""),
    ):
        result = invoke("runs", verb, *arguments)
        assert result.stderr.startswith(said)
        assert (result.exit_code == 0) == (not said)
    assert ids(invoke, "--status", "queued") == stock.queued[::-1]


def test_what_did_it_is_listed_if_it_is_asked_for(invoke, stocked):
    stock = stocked(queued=3, live=True)
    assert invoke("runs", "cancel", "--task", "order", "--yes").exit_code == 0

    def tasks(*options: str) -> set[str]:
        listed = json.loads(invoke("runs", "ls", "--json", *options).stdout)["runs"]
        return {run["task"] for run in listed if run["task"].startswith("fanwood.actions/")}

    assert tasks() == set()
    assert tasks("--limit", "1") == set()
    (one,) = tasks("--task", "fanwood.actions/bulk")
    assert one in tasks("--all")
    assert json.loads(invoke("runs", "get", "--json").stdout)["id"] == stock.queued[-1]
    shown = invoke("runs", "ls", "--limit", "1").stdout
    assert stock.queued[-1] in shown


def test_nobody_is_there_to_ask(invoke, stocked):
    stock = stocked(queued=3)
    result = invoke("runs", "cancel", "--task", "order")
    assert result.exit_code == 2
    assert result.stderr == "error: 3 runs (3 order) would be cancelled. Nobody is there to ask: say --yes\n"
    assert ids(invoke, "--status", "queued") == stock.queued[::-1]


def test_the_answer_counts(invoke, stocked, asked):
    stock = stocked(queued=3, live=True)
    no = invoke("runs", "cancel", "--task", "order", stdin="n\n")
    assert (no.exit_code, no.stdout) == (2, "")
    assert "Cancel 3 runs (3 order)? [y/N]" in no.stderr
    assert ids(invoke, "--status", "queued") == stock.queued[::-1]
    yes = invoke("runs", "cancel", "--task", "order", stdin="y\n")
    assert (yes.exit_code, yes.stdout) == (0, f"Cancelled 3 runs: order {stock.queued[-1]} and 2 more\n")
    assert ids(invoke, "--status", "queued") == []


def test_only_what_the_filters_let_through(invoke, stocked):
    stock = stocked(queued=2, live=True)
    assert did(invoke("runs", "cancel", "--meta", "customer=8", "--yes", "--json")) == (2, 0)
    assert ids(invoke, "--status", "cancelled") == stock.queued[::-1]
    assert ids(invoke, "--status", "running") == [stock.root]
    assert invoke("runs", "cancel", "--meta", "customer=8", "--yes").stdout == "Nothing to cancel\n"


def test_children_too(invoke, stocked):
    stock = stocked(children=20, live=True)
    narrow = ("--all", "--task", "leaf", "--status", "waiting")
    assert did(invoke("runs", "cancel", *narrow, "--yes", "--json")) == (2, 0)
    assert ids(invoke, "--all", "--status", "cancelled") == [stock.children[14], stock.children[4]]
    failed = ("--all", "--failed", "--yes", "--json")
    assert did(invoke("runs", "retry", "--meta", "customer=8", *failed)) == (0, 0), "none of these has failed"
    assert did(invoke("runs", "retry", *failed)) == (2, 0)


def test_several_by_their_ids(invoke, stocked):
    stock = stocked(queued=3)
    assert invoke("runs", "cancel", stock.queued[0], stock.queued[2][-8:]).exit_code == 0
    assert ids(invoke, "--status", "queued") == [stock.queued[1]]


def test_retry(invoke, stocked):
    stock = stocked(queued=3)
    invoke("runs", "cancel", "--task", "order", "--yes")
    result = invoke("runs", "retry", "--status", "cancelled", "--yes")
    assert result.stdout == f"Queued again: 3 runs: order {stock.queued[-1]} and 2 more\n"
    assert result.stderr == "warning: no live worker serves order: its runs stay queued until one does\n"
    assert ids(invoke, "--status", "queued", "--task", "order") == stock.queued[::-1]
    assert invoke("runs", "retry", "--task", "order", "--yes").stdout == "Nothing to retry\n"
    assert json.loads(invoke("runs", "get", "@last", "--json").stdout)["id"] == stock.queued[-1], "that is no action"


def test_rm(invoke, family, stocked):
    stock = stocked(queued=1, live=True)
    child = invoke("runs", "rm", family.leaves[0])
    assert child.exit_code == 2
    assert "is a child: whole trees are deleted. Its root: " in child.stderr
    lives = invoke("runs", "rm", stock.queued[0])
    assert lives.exit_code == 1
    assert lives.stderr == f"warning: {stock.queued[0]} stays: something in its tree has not ended\n"
    assert did(invoke("runs", "rm", "--task", "bush", "--yes", "--json")) == (1, 0)
    assert invoke("runs", "rm", "--task", "bush", "--yes").stdout == "Nothing to delete\n"
    assert ids(invoke) == [*stock.queued, stock.root]
    assert invoke("runs", "get", family.leaves[0]).exit_code == 2


def test_pause_and_resume(invoke, stocked):
    (run,) = stocked(queued=1).queued
    said = invoke("runs", "pause", run, "--by", "ann").stdout
    assert said == f"Paused 1 run with all below: order {run}\n"
    assert "Nothing to do" in invoke("runs", "pause", run).stdout
    assert "paused by ann since" in invoke("why", run).stdout
    assert "paused by ann since" in invoke("tree", run).stdout
    assert "paused by ann since" in invoke("runs", "get", run).stdout
    assert json.loads(invoke("runs", "get", run, "--json").stdout)["paused"]["by"] == "ann"
    assert did(invoke("runs", "resume", "--task", "order", "--yes", "--json")) == (1, 0)
    assert "paused" not in invoke("why", run).stdout
    assert "none of these is paused" in invoke("runs", "resume", run).stdout


def test_retry_failures(invoke, stocked):
    """Of a tree in which something failed, though its root completed; of another one nothing."""
    stock = stocked(queued=1)
    assert "once it has ended" in invoke("runs", "retry", stock.root, "--failures").stderr
    invoke("runs", "patch", stock.root, "1")
    invoke("runs", "patch", stock.queued[0], "1")
    assert invoke("runs", "retry", stock.root, "--failures").stdout == f"Queued again: shop {stock.root}\n"
    assert "paused" not in invoke("why", stock.root).stdout
    assert "Nothing of order" in invoke("runs", "retry", stock.queued[0], "--failures").stderr


def test_reprioritize(invoke, stocked):
    (run,) = stocked(queued=1).queued
    assert "--priority" in invoke("runs", "reprioritize", run).stderr
    assert "not in the range" in invoke("runs", "reprioritize", run, "--priority", "2147483648").stderr
    said = invoke("runs", "reprioritize", run, "--priority", "7", "--by", "ann").stdout
    assert said == f"Reprioritized 1 run with all below: order {run}\n"
    assert "given priority 7 by ann; it had 1" in invoke("logs", run).stdout
    assert "have that priority already" in invoke("runs", "reprioritize", run, "--priority", "7").stdout
    assert did(invoke("runs", "reprioritize", "--task", "order", "--priority=-1", "--yes", "--json")) == (1, 0)
    assert json.loads(invoke("runs", "get", run, "--json").stdout)["priority"] == -1


def test_patch(invoke, stocked):
    (run,) = stocked(queued=1).queued
    assert "must be JSON" in invoke("runs", "patch", run, "{n}").stderr
    said = json.loads(invoke("runs", "patch", run, '{"n": 1}', "--by", "ann", "--json").stdout)
    assert said == {"id": run, "status": "COMPLETED", "was": "QUEUED"}
    assert "patched by ann; it was QUEUED" in invoke("logs", run).stdout
    assert "was COMPLETED, and is COMPLETED" in invoke("runs", "patch", run, "null").stdout


def test_fork(invoke, stocked, app):
    (run,) = stocked(queued=1).queued
    assert "only what has ended can be forked" in invoke("runs", "fork", run).stderr
    invoke("runs", "patch", run, "1")
    assert "is not JSON" in invoke("runs", "fork", run, "--input", "{n}").stderr
    done = json.loads(invoke("runs", "fork", run, "--input", '{"n": 2}', "--by", "ann", "--json").stdout)
    assert done == {"id": done["id"], "status": "QUEUED", "of": run, "at": None}
    made = json.loads(invoke("runs", "get", done["id"], "--json").stdout)
    assert made["fork"] == {
        "how": "fork", "of": run, "at": None, "changed": True, "by": "ann", "made_at": made["created_at"],
    }  # fmt: skip
    assert (made["input"], made["forks"]) == ({"n": 2}, [])
    assert json.loads(invoke("runs", "get", run, "--json").stdout)["forks"] == [done["id"]]
    assert f"fork of {run}, with another input, by ann" in invoke("runs", "get", done["id"]).stdout
    assert f"forks        {done['id']}" in invoke("runs", "get", run).stdout
    assert "(fork of " in invoke("tree", done["id"]).stdout
    assert "is not below" in invoke("runs", "fork", run, "--at", done["id"]).stderr
    made = json.loads(invoke("runs", "fork", run, "--budget", "runs=9", "--budget", "usd=0.5", "--json").stdout)["id"]
    assert {limit.unit: limit.amount for limit in app.runs.get(made).budget} == {"runs": 9, "usd": Decimal("0.5")}
    assert "must be a name and an amount" in invoke("runs", "fork", run, "--budget", "usd").stderr
    assert invoke("runs", "fork", run).stdout.startswith("Forked: ")
    two = json.loads(invoke("runs", "fork", run, done["of"], "--json").stdout)["runs"]
    assert [each["of"] for each in two] == [run, run]
    assert "for one run: name it" in invoke("runs", "fork", "--failed", "--input", "{}", "--yes").stderr
    assert "Nobody is there to ask" in invoke("runs", "fork", "--status", "completed").stderr
    many = json.loads(invoke("runs", "fork", "--status", "completed", "--yes", "--json").stdout)
    assert (many["done"] > 0, many["left"]) == (True, 0)
