"""`fanwood runs ls`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from fanwood.cli import listing, text
from fanwood.store import listing as pages
from tests.cli import conftest
from tests.cli.conftest import short

RUN_KEYS = {
    "id", "task", "kind", "status", "parent_id", "root_id", "depth", "child_key", "priority", "metadata", "attempt",
    "retry_count", "created_at", "started_at", "finished_at", "waits", "due_at", "seconds", "busy_seconds", "error",
}  # fmt: skip


def _ids(invoke, *options: str) -> list[str]:
    return [run["id"] for run in _listed(invoke, *options)["runs"]]


def _listed(invoke, *options: str):
    result = invoke("runs", "ls", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_ls(invoke, family):
    lines = invoke("runs", "ls").stdout.splitlines()
    assert lines[0] == "ID\tTASK\tSTATE\tCREATED\tTOOK"
    [line] = lines[1:]
    assert line.startswith(f"{family.id}\tbush\tCOMPLETED\t")


def test_json(invoke, family):
    listed = _listed(invoke)
    [run] = listed["runs"]
    assert (set(listed), listed["after"]) == ({"runs", "after"}, None)
    assert set(run) == RUN_KEYS
    assert (run["id"], run["status"], run["kind"], run["error"]) == (family.id, "COMPLETED", "task", None)
    assert run["busy_seconds"] > 0


def test_json_of_what_waits(invoke, stocked):
    stock = stocked()
    [run] = _listed(invoke, "--all", "--status", "waiting")["runs"]
    assert (run["id"], run["status"], run["kind"], run["busy_seconds"]) == (stock.children[4], "WAITING", "task", 1.5)
    assert run["due_at"] > run["created_at"]
    assert (run["seconds"], run["started_at"] is None) == (None, False)
    assert _listed(invoke)["runs"][0]["kind"] == "workflow"


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--status", "completed"), 1),
        (("--status", "FAILED"), 0),
        (("--status", "waiting"), 0),
        (("--status", "failed", "--all"), 2),
        (("--task", "bush"), 1),
        (("--task", "leaf"), 0),
        (("--task", "leaf", "--all"), 20),
        (("--task", "leaf", "--all", "--limit", "1000000"), 25),
        (("--all", "--limit", "9223372036854775808"), 29),
        (("--since", "1h"), 1),
        (("--since", "99999999999999d"), 1),
        (("--since", "2999-01-01"), 0),
        (("--until", "1h"), 0),
        (("--older-than", "1h", "--all"), 0),
        (("--until", "2999-01-01"), 1),
        (("--until", "0s", "--all", "--limit", "100"), 29),
        (("--until", "99999999999999d", "--all"), 0),
        (("--until", "9999-12-31T23:59:59+00:00", "--all", "--limit", "100"), 29),
        (("--since", "9999-12-31T23:59:59+00:00"), 0),
    ],
)
def test_filters(invoke, family, options, count):
    assert len(_ids(invoke, *options)) == count


@pytest.mark.parametrize("status", ["queued", "running", "waiting", "failed"])
def test_every_state_of_all(invoke, stocked, status):
    stock = stocked(children=20)
    expected = {
        "queued": [stock.children[15], stock.children[5]],
        "running": [stock.children[16], stock.children[6], stock.root],
        "waiting": [stock.children[14], stock.children[4]],
        "failed": [stock.children[13], stock.children[3]],
    }
    assert _ids(invoke, "--all", "--status", status) == expected[status]


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        (("customer=7",), True),
        (("customer=7", "name=7"), False),
        (("customer=7", 'name="7"'), True),
        (("none=null",), True),
        (("none=",), False),
        (('tags={"b": "x", "a": [1,2]}',), True),
        (('tags={"a":[2,1],"b":"x"}',), False),
        (("tags=NaN",), False),
        (("customer=1e999",), False),
        (("customer=9223372036854775808",), False),
        (("it's=7",), False),
        ((" customer=7",), False),
    ],
)
def test_metadata(invoke, stocked, meta, found):
    stock = stocked(queued=3)
    options = [option for pair in meta for option in ("--meta", pair)]
    assert _ids(invoke, *options) == ([stock.root] if found else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--meta", "customer"), "--meta 'customer' is not KEY=VALUE, such as --meta customer=7"),
        (("--meta", ""), "--meta '' is not KEY=VALUE, such as --meta customer=7"),
        (("--meta", "=7"), "--meta '=7' is not KEY=VALUE, such as --meta customer=7"),
        (("--meta", "a=1", "--meta", "a=2"), "--meta a=... is given twice: a run has one value of a name"),
        (("--meta", "a=\udcff"), "--meta 'a=\\udcff' is not UTF-8 text"),
        (("--meta", "\udcff=1"), "--meta '\\udcff=1' is not UTF-8 text"),
        (("--meta", "a=" + "[" * 100_000), "--meta a=... is nested too deeply"),
        (("--task", ""), "--task is empty: name a task"),
        (("--since", "yesterday"), "--since 'yesterday' is neither a duration (90s, 1h, 2d) nor an ISO time"),
        (("--until", "soon"), "--until 'soon' is neither a duration (90s, 1h, 2d) nor an ISO time"),
        (("--since", ""), "--since '' is neither a duration (90s, 1h, 2d) nor an ISO time"),
        (("--since", "0001-01-01T00:00:00+14:00"), "--since '0001-01-01T00:00:00+14:00' is neither"),
        (("--after", "ffff"), "--after: In sqlite:"),
        (("--after", ""), "--after: '' is not a run id, nor the beginning or the end of one"),
        (("--after", "0"), "--after: '0' fits several runs; give more of the id:"),
        (("--failed", "--status", "queued"), "--failed and --status queued exclude each other"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_what_can_not_be_asked_for(invoke, stocked, options, message):
    stocked()
    result = invoke("runs", "ls", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {message}")


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5", ""])
def test_limits_that_are_none(invoke, stocked, limit):
    stocked()
    result = invoke("runs", "ls", "--limit", limit)
    assert result.exit_code == 2
    assert "--limit" in result.stderr


# --- page after page -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--all",),
        ("--all", "--status", "failed"),
        ("--all", "--status", "waiting"),
        ("--status", "queued"),
        ("--task", "order"),
        ("--task", "leaf", "--all"),
        ("--meta", "customer=8"),
    ],
    ids=lambda options: " ".join(options) or "roots",
)
def test_pages_bring_everything_once(invoke, stocked, options):
    stocked(children=50, queued=9)
    whole = _listed(invoke, *options, "--limit", "1000")
    assert whole["after"] is None
    found: list[str] = []
    page = _listed(invoke, *options, "--limit", "3")
    while page["after"] is not None:
        assert page["after"] == page["runs"][-1]["id"]
        found += [run["id"] for run in page["runs"]]
        page = _listed(invoke, *options, "--limit", "3", "--after", page["after"])
    found += [run["id"] for run in page["runs"]]
    assert found == [run["id"] for run in whole["runs"]] != []


def test_how_to_go_on_is_said(invoke, stocked):
    stock = stocked(queued=3)
    first = invoke("runs", "ls", "--limit", "2")
    assert len(first.stdout.splitlines()) == 3
    assert first.stderr == f"There may be more: --after {stock.queued[1]}\n"
    rest = invoke("runs", "ls", "--limit", "2", "--after", stock.queued[1])
    assert len(rest.stdout.splitlines()) == 3
    assert rest.stderr == ""
    assert invoke("runs", "ls", "--after", stock.root).stderr == "No such runs.\n"


def test_failed_runs_go_on_after_one_that_has_ended_only(invoke, stocked):
    stock = stocked()
    result = invoke("runs", "ls", "--all", "--status", "failed", "--after", stock.root)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --after: run {stock.root} is RUNNING: all failed runs are listed in the ")


def test_many_pages_make_one_listing(invoke, stocked, monkeypatch):
    stock = stocked(children=40, queued=5)
    monkeypatch.setattr("fanwood.sdk.listing.PAGE", 7)
    monkeypatch.setattr(pages, "WALK", 3)
    assert _ids(invoke, "--all", "--limit", "100") == [*stock.queued[::-1], *stock.children[::-1], stock.root]
    assert _ids(invoke, "--all", "--task", "shop") == [stock.root]
    assert _ids(invoke, "--meta", "customer=7") == [stock.root]


def test_a_search_that_finds_little_ends(invoke, stocked, monkeypatch):
    """It says how far it came, and goes on from there."""
    stock = stocked(children=40, queued=5)
    monkeypatch.setattr("fanwood.sdk.listing.PAGE", 7)
    monkeypatch.setattr(pages, "WALK", 7)
    monkeypatch.setattr(listing, "PATIENCE", -1)
    result = invoke("runs", "ls", "--all", "--task", "shop")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("Looked back to 20")
    assert f"found nothing so far. To go on from there: --after {stock.children[-2]}\n" in result.stderr
    found, calls, after = list[str](), 0, ""
    while after is not None:
        page = _listed(invoke, "--all", "--task", "shop", *(("--after", after) if after else ()))
        found += [run["id"] for run in page["runs"]]
        calls, after = calls + 1, page["after"]
    assert found == [stock.root]
    assert calls >= 46 // 7


def test_namespaces_are_kept_apart(invoke, stocked, monkeypatch):
    mine, theirs = stocked(namespace="mine"), stocked(namespace="theirs")
    assert _ids(invoke) == [theirs.root, mine.root]
    monkeypatch.setenv("FANWOOD_NAMESPACE", "mine")
    assert _ids(invoke) == [mine.root]
    assert _ids(invoke, "--task", "shop") == _ids(invoke, "--task", "mine/shop") == [mine.root]
    assert _ids(invoke, "--task", "theirs/shop") == []
    assert len(_ids(invoke, "--all")) == 11
    assert len(_ids(invoke, "--all", "--status", "failed")) == 1


# --- for people ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 100, 120, 140, 200])
def test_a_terminal_gets_one_line_for_a_run(invoke, stocked, terminal: Callable[[int], None], columns):
    stock = stocked(children=10)
    terminal(columns)
    result = invoke("runs", "ls", "--all")
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + 11
    assert max(map(len, lines)) <= columns
    for run, line in zip([*stock.children[::-1], stock.root], lines[1:], strict=True):
        assert line.startswith(short(run))
    assert "\x1b" not in result.stdout
    waiting, failed = lines[1 + 5], lines[1 + 6]
    assert "WAITING" in waiting
    assert "until " in waiting
    assert "ValueError" in failed
    assert ("age" in lines[0]) == (columns < listing.WIDE)


@pytest.mark.parametrize("columns", [80, 140])
def test_wide_signs_take_no_room_from_others(
    invoke, stocked, terminal: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, columns
):
    message = "\u5728\u5eab\u304c\u3042\u308a\u307e\u305b\u3093 " * 20
    monkeypatch.setattr(conftest, "NO_STOCK", json.dumps({"kind": "failed", "type": "ValueError", "message": message}))
    stocked(children=10)
    terminal(columns)
    lines = invoke("runs", "ls", "--all").stdout.splitlines()
    assert len(lines) == 1 + 11
    assert max(map(text.columns, lines)) <= columns
    assert all("  leaf leaf " in line for line in lines[1:-1])
    [failed] = [line for line in lines if "ValueError" in line]
    assert failed.rstrip().endswith("...")
    if columns >= listing.WIDE:
        assert all(re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in lines[1:])


@pytest.mark.parametrize("columns", [30, 40, 60])
def test_a_small_terminal_gets_fewer_columns_and_whole_ones(invoke, stocked, terminal: Callable[[int], None], columns):
    stock = stocked(children=10)
    terminal(columns)
    lines = invoke("runs", "ls", "--all").stdout.splitlines()
    assert len(lines) == 1 + 11
    assert max(map(len, lines)) <= columns
    for run, line in zip([*stock.children[::-1], stock.root], lines[1:], strict=True):
        assert line.split()[0] == short(run)
        assert set(line.split()) & {"RUNNING", "WAITING", "QUEUED", "COMPLETED", "FAILED", "CANCELLED"}
    assert ("took" in lines[0], "age" in lines[0]) == (columns == 60, columns > 40)


def test_failures_below_completed_roots_are_said(invoke, family, terminal):
    said = "2 failed runs below completed roots: fanwood runs ls --all --failed\n"
    assert invoke("runs", "ls").stderr == said
    assert _ids(invoke, "--all", "--failed") == family.leaves[1::-1]
    terminal(80)
    shown = invoke("runs", "ls")
    assert "2 failed below" in shown.stdout
    assert shown.stderr == said
    assert invoke("runs", "ls", "--all", "--failed").stderr == ""


def test_nothing_there(invoke, stocked):
    stocked(children=0)
    assert invoke("runs", "ls", "--status", "failed").stderr == "No such runs.\n"
    assert invoke("runs", "ls", "--meta", "a=b", "--json").stdout == '{"runs":[],"after":null}\n'
