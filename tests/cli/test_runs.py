from __future__ import annotations

import json
import re

import pytest

from fanwood import Fanwood
from fanwood.cli import runs
from fanwood.store import cancelling
from tests.cli.test_listing import RUN_KEYS


def test_no_database(invoke, here):
    for command in (["runs", "ls"], ["runs", "get", "0192"], ["tree", "0192"], ["run", "square"]):
        result = invoke(*command)
        assert result.exit_code == 2
        assert result.stderr == f"error: {here}/fanwood.db does not exist: nothing has run there yet.\n"
    assert not (here / "fanwood.db").exists()


def test_get(invoke, family):
    shown = invoke("runs", "get", family.leaves[0]).stdout
    assert f"id           {family.leaves[0]}\n" in shown
    assert f"parent       {family.id}\n" in shown
    assert "state        FAILED\n" in shown
    assert 'input:\n  {\n    "n": 0\n  }\n' in shown
    assert "error:\n  ValueError: withered away\n" in shown
    assert "traceback:\n  Traceback (most recent call last):\n" in shown
    assert "  info     leaf 0\n" in shown
    assert "\x1b" not in shown


def test_get_shows_children(invoke, family):
    shown = invoke("runs", "get", family.id).stdout
    assert "children:\n  leaf: 23 completed, 2 failed\n  twig: 3 completed\n" in shown


def test_get_json(invoke, family):
    run = json.loads(invoke("runs", "get", family.leaves[0], "--json").stdout)
    more = {
        "input",
        "output",
        "deaths",
        "version",
        "started_over",
        "started_over_at",
        "fork",
        "forks",
        "kin",
        "worker_id",
        "deadline",
        "paused",
        "attempts",
        "progress",
        "children",
        "logs",
        "logs_left_out",
    }
    assert set(run) == RUN_KEYS | more
    assert run["input"] == {"n": 0}
    assert set(run["error"]) == {"kind", "type", "message", "traceback", "limit", "owner"}
    assert [line["message"] for line in run["logs"]] == ["leaf \x1b[31m0\x1b[0m"]


def test_ids_by_their_beginning_and_by_their_end(invoke, family):
    for given in (family.id[:-3], family.id[-8:], family.id[-12:], family.id[-7:].upper()):
        assert f"id           {family.id}\n" in invoke("runs", "get", given).stdout
    unknown = invoke("runs", "get", "ffff")
    assert unknown.exit_code == 2
    assert "no run's id begins or ends with 'ffff'" in unknown.stderr
    assert "'xyz' is not a run id, nor the beginning or the end of one" in invoke("tree", "xyz").stderr


def test_an_id_that_fits_several_runs_lists_them(invoke, stocked):
    stock = stocked(queued=7)
    result = invoke("runs", "get", stock.root[:2])
    assert (result.exit_code, result.stdout) == (2, "")
    first, *lines = result.stderr.splitlines()
    assert first == f"error: '{stock.root[:2]}' fits several runs; give more of the id:"
    assert len(lines) == 6
    assert lines[0].startswith(f"  {stock.root}  shop RUNNING, ")
    assert lines[-1] == "  ..."


@pytest.mark.parametrize("given", [(), ("@last",)])
def test_the_newest_root(invoke, stocked, given):
    stock = stocked(queued=2)
    assert f"id           {stock.queued[-1]}\n" in invoke("runs", "get", *given).stdout
    assert json.loads(invoke("tree", *given, "--json").stdout)["root"] == stock.queued[-1]
    assert invoke("logs", *given).exit_code == 0


def test_no_runs_at_all(invoke, stocked, here, monkeypatch):
    stocked(namespace="theirs")
    monkeypatch.setenv("FANWOOD_NAMESPACE", "mine")
    assert invoke("tree").stderr == f"error: There are no runs in sqlite:///{here}/fanwood.db of namespace mine\n"


def test_what_is_very_long_is_cut_on_a_terminal(invoke, app: Fanwood, terminal):
    @app.task
    async def wide(input: int) -> list[str]:
        return ["x" * 50] * input

    wide.run(1000)
    app.close()
    whole = invoke("runs", "get")
    assert whole.stdout.count("x" * 50) == 1000
    terminal(80)
    shown = invoke("runs", "get").stdout
    assert shown.count("x" * 50) == runs.MOST_LINES - 1
    assert re.search(r"\.\.\. 53\.0 kB in all; whole: fanwood runs get [0-9a-f]{8} --json \| less\n", shown)


def test_cancel_what_has_ended(invoke, family):
    result = invoke("runs", "cancel", family.id)
    assert (result.exit_code, result.stdout) == (0, f"bush {family.id} is COMPLETED: nothing to cancel\n")


def test_retry_and_cancel(invoke, family):
    leaf = family.leaves[0]
    result = invoke("runs", "retry", leaf)
    assert (result.exit_code, result.stdout) == (0, f"Queued again: leaf {leaf}\n")
    assert result.stderr == "warning: no live worker serves leaf: its runs stay queued until one does\n"

    again = invoke("runs", "retry", leaf)
    assert again.exit_code == 2
    assert again.stderr == (
        f"error: leaf {leaf} is QUEUED: only what has ended can be retried. `fanwood runs cancel` ends it.\n"
    )
    assert invoke("runs", "cancel", leaf).stdout == f"Cancelled 1 run: leaf {leaf}\n"
    assert json.loads(invoke("runs", "cancel", leaf, "--json").stdout) == {
        "id": leaf, "status": "CANCELLED", "cancelled": 0, "more": False,
    }  # fmt: skip


def test_get_what_waits(invoke, stocked):
    stock = stocked()
    shown = invoke("runs", "get", stock.children[4]).stdout
    assert "state        WAITING\n" in shown
    assert "busy         1.5 s\n" in shown
    assert "\ndue          20" in shown
    assert "error of the last attempt:\n  ValueError: no stock" in shown
    assert "took " not in shown
    root = invoke("runs", "get", stock.root).stdout
    assert "kind         workflow\n" in root
    assert "\ndue " not in root
    assert "leaf: 1 queued, 1 running, 1 waiting, 6 completed, 1 failed" in root


def test_cancel_a_tree(invoke, stocked):
    stock = stocked(children=20)
    assert invoke("runs", "cancel", stock.root).stdout == f"Cancelled 7 runs: shop {stock.root}\n"
    assert invoke("runs", "cancel", stock.root).stdout == f"shop {stock.root} is CANCELLED: nothing to cancel\n"


def test_cancel_a_large_tree(invoke, stocked, monkeypatch):
    """The call ends some of it, and says that there is more. Again, it goes on."""
    stock = stocked(children=2_000)
    monkeypatch.setattr(cancelling, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(cancelling, "SMALL_SECONDS", 0.0)
    said = re.fullmatch(
        rf"Cancelled shop {stock.root}: ([\d,]+) runs have ended so far, "
        r"the rest follows once a worker or client is there\n",
        invoke("runs", "cancel", stock.root).stdout,
    )
    assert said is not None
    ended, more = int(said[1]), True
    assert 1 < ended < 601
    while more:
        done = json.loads(invoke("runs", "cancel", stock.root, "--json").stdout)
        assert (done["id"], done["status"]) == (stock.root, "CANCELLED")
        ended, more = ended + done["cancelled"], done["more"]
    assert ended == 601


def test_retry_what_completed(invoke, family):
    refused = invoke("runs", "retry", family.id)
    assert refused.exit_code == 2
    assert "has completed and has its result. --force runs it again all the same." in refused.stderr
    forced = json.loads(invoke("runs", "retry", family.id, "--force", "--json").stdout)
    assert forced == {"id": family.id, "task": "bush", "status": "QUEUED", "served": False}


def test_cancel_below_what_has_ended(invoke, family):
    """Nothing of a tree that has ended is left to cancel, whichever run is named."""
    for run in (family.id, *family.leaves[:3]):
        assert "nothing to cancel" in invoke("runs", "cancel", run).stdout
