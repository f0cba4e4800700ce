from __future__ import annotations

import json

import pytest

RUN_KEYS = {
    "id", "task", "status", "parent_id", "root_id", "depth", "child_key", "priority", "metadata", "attempt",
    "retry_count", "created_at", "started_at", "finished_at", "seconds", "error",
}  # fmt: skip


def test_ls(invoke, family):
    lines = invoke("runs", "ls").stdout.splitlines()
    assert lines[0] == "ID\tTASK\tSTATE\tCREATED\tTOOK"
    [line] = lines[1:]
    assert line.startswith(f"{family.id}\tbush\tCOMPLETED\t")


def test_ls_json(invoke, family):
    [run] = json.loads(invoke("runs", "ls", "--json").stdout)["runs"]
    assert set(run) == RUN_KEYS
    assert (run["id"], run["status"], run["error"]) == (family.id, "COMPLETED", None)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--status", "completed"), 1),
        (("--status", "FAILED"), 0),
        (("--task", "bush"), 1),
        (("--task", "leaf"), 0),
        (("--since", "1h"), 1),
        (("--since", "2999-01-01"), 0),
    ],
)
def test_ls_filters(invoke, family, options, count):
    assert len(json.loads(invoke("runs", "ls", "--json", *options).stdout)["runs"]) == count


def test_ls_bad_since(invoke, family):
    result = invoke("runs", "ls", "--since", "yesterday")
    assert result.exit_code == 2
    assert result.stderr == "error: --since 'yesterday' is neither a duration (90s, 1h, 2d) nor an ISO time\n"


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
    more = {"input", "output", "deaths", "worker_id", "run_at", "deadline", "children", "logs"}
    assert set(run) == RUN_KEYS | more
    assert run["input"] == {"n": 0}
    assert set(run["error"]) == {"kind", "type", "message", "traceback", "limit", "owner"}
    assert [line["message"] for line in run["logs"]] == ["leaf \x1b[31m0\x1b[0m"]


def test_ids_by_their_beginning(invoke, family):
    assert f"id           {family.id}\n" in invoke("runs", "get", family.id[:-3]).stdout
    unknown = invoke("runs", "get", "ffff")
    assert unknown.exit_code == 2
    assert "no run's id begins with 'ffff'" in unknown.stderr
    assert "more than one run's id begins with '0'" in invoke("runs", "get", "0").stderr
    assert "'xyz' is not a run id, nor the beginning of one" in invoke("tree", "xyz").stderr


def test_cancel_what_has_ended(invoke, family):
    result = invoke("runs", "cancel", family.id)
    assert (result.exit_code, result.stdout) == (0, f"bush {family.id} is COMPLETED: nothing to cancel\n")


def test_retry_and_cancel(invoke, family):
    leaf = family.leaves[0]
    result = invoke("runs", "retry", leaf)
    assert (result.exit_code, result.stdout) == (0, f"Queued again: leaf {leaf}\n")
    assert result.stderr == "warning: no live worker serves leaf: the run stays queued until one does\n"

    again = invoke("runs", "retry", leaf)
    assert again.exit_code == 2
    assert again.stderr == (
        f"error: leaf {leaf} is QUEUED: only what has ended can be retried. `fanwood runs cancel` ends it.\n"
    )
    assert invoke("runs", "cancel", leaf).stdout == f"Cancelled 1 run: leaf {leaf}\n"
    assert json.loads(invoke("runs", "cancel", leaf, "--json").stdout) == {
        "id": leaf, "status": "CANCELLED", "cancelled": 0,
    }  # fmt: skip


def test_retry_what_completed(invoke, family):
    refused = invoke("runs", "retry", family.id)
    assert refused.exit_code == 2
    assert "has completed and has its result. --force runs it again all the same." in refused.stderr
    forced = json.loads(invoke("runs", "retry", family.id, "--force", "--json").stdout)
    assert forced == {"id": family.id, "task": "bush", "status": "QUEUED", "served": False}
