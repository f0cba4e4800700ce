from __future__ import annotations

import json
import re

import pytest

from fanwood import Fanwood
from fanwood.cli import output, text
from tests.cli.conftest import short


def test_big_families_are_one_line(invoke, family):
    result = invoke("tree", family.id)
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[0] == ["RUN", "STATE", "TOOK", "CHILDREN", "ID", "ERROR", "DUE"]
    assert rows[1][:2] == ["bush", "COMPLETED"]
    assert [row[0] for row in rows[2:5]] == ["  twig twig 0", "  twig twig 1", "  twig twig 2"]
    assert rows[5][:2] == ["  25 x leaf", "23 done, 2 failed"]
    assert re.fullmatch(r"[\d.]+ m?[us]s?(\.\.[\d.]+ m?[us]s?)?", rows[5][2])
    assert [(row[0], row[1], row[5]) for row in rows[6:]] == [("    leaf", "FAILED", "ValueError: withered away")] * 2
    assert "\x1b" not in result.stdout
    assert result.stderr.splitlines()[0] == "29 runs: 27 done, 2 failed"


def test_all(invoke, family):
    lines = invoke("tree", family.id, "--all").stdout.splitlines()
    assert len(lines) == 1 + 29
    assert not any("25 x" in line for line in lines)


def test_depth(invoke, family):
    lines = invoke("tree", family.id, "--depth", "0").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split("\t")[3] == "26 done, 2 failed"


def test_json(invoke, family):
    tree = json.loads(invoke("tree", family.id, "--json").stdout)
    assert set(tree) == {"root", "now", "counts", "runs", "groups", "budget", "spent", "spent_is_cut"}
    assert tree["counts"]["leaf"] == {"COMPLETED": 23, "FAILED": 2}
    assert [run["task"] for run in tree["runs"]] == ["bush", "twig", "twig", "twig", "leaf", "leaf"]
    assert tree["runs"][0]["children"]["twig"] == {"COMPLETED": 3}
    assert tree["runs"][0]["expanded"]
    [group] = tree["groups"]
    assert set(group) == {"parent_id", "task", "total", "counts", "fastest_seconds", "slowest_seconds"}
    assert (group["parent_id"], group["total"]) == (family.id, 25)
    assert 0 <= group["fastest_seconds"] <= group["slowest_seconds"]


def test_deep_and_wide_trees_are_cut(invoke, app: Fanwood):
    @app.task
    async def grow(input: int) -> int:
        if input == 0:
            return 1
        return sum(await grow.aio_run_many([grow.create_bulk_run_item(input - 1) for _ in range(3)]))

    ref = grow.run_no_wait(5)
    assert ref.result() == 243
    app.close()
    result = invoke("tree", ref.id)
    assert len(result.stdout.splitlines()) == 1 + 1 + 3 + 9 + 27 + 81
    assert "Deeper levels are left out: --depth N shows N of them, --all shows everything.\n" in result.stderr
    assert len(invoke("tree", ref.id, "--depth", "5").stdout.splitlines()) == 1 + 364


def test_a_terminal_gets_guides_and_colour(invoke, family, monkeypatch):
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    lines = invoke("tree", family.id).stdout.splitlines()
    assert lines[0].startswith("✓ bush")
    assert lines[1].startswith("├─ ✓ twig twig 0")
    assert lines[4].startswith("└─ 25 x leaf  23 done, 2 failed")
    assert lines[5].startswith("   ├─ ✗ leaf")
    assert lines[5].endswith(f'{short(family.leaves[0])}  {{"n":0}}')
    assert lines[6] == "   │  ╰ ValueError: withered away"
    assert lines[7].startswith("   └─ ✗ leaf")
    assert lines[8] == "      ╰ ValueError: withered away"


def test_marks_where_the_terminal_has_no_others(invoke, family, terminal, monkeypatch):
    terminal(80)
    monkeypatch.setattr(output, "marks", lambda: output.marks_for("ascii"))
    shown = invoke("tree", family.id).stdout
    assert shown.isascii()
    assert shown.splitlines()[0].startswith("+ bush")
    assert "|- + twig twig 0" in shown
    assert "   |- x leaf" in shown
    assert "   |  ` ValueError: withered away" in shown


def test_a_failed_run_with_children(invoke, stocked, terminal):
    stock = stocked()
    invoke("runs", "cancel", stock.root)
    terminal(80)
    lines = invoke("tree").stdout.splitlines()
    assert lines[0].startswith("⊘ shop")
    assert lines[1] == "│ by request"
    assert lines[2].startswith("├─ ✓ leaf leaf 0")


def test_what_waits(invoke, stocked, terminal):
    stock = stocked()
    tree = json.loads(invoke("tree", stock.root, "--json").stdout)
    assert tree["counts"]["leaf"] == {"QUEUED": 1, "RUNNING": 1, "WAITING": 1, "COMPLETED": 6, "FAILED": 1}
    [waiting] = [run for run in tree["runs"] if run["status"] == "WAITING"]
    assert waiting["due_at"] is not None
    plain = invoke("tree", stock.root)
    [row] = [line.split("\t") for line in plain.stdout.splitlines() if "\tWAITING\t" in line]
    assert (row[0], row[2], row[5], row[6][:2]) == ("  leaf leaf 4", "-", "-", "20")
    assert plain.stderr == "11 runs: 6 done, 1 failed, 2 running, 1 waiting, 1 queued\n"
    terminal(140)
    [line] = [line for line in invoke("tree", stock.root).stdout.splitlines() if "◷" in line]
    assert line.startswith("├─ ◷ leaf leaf 4  waiting until ")
    assert line.endswith(f"{short(stock.children[4])}  4")


def test_a_large_tree(invoke, stocked, terminal):
    stock = stocked(children=1_000)
    for columns in (80, 140):
        terminal(columns)
        lines = invoke("tree", stock.root).stdout.splitlines()
        assert len(lines) == 1 + 1 + 2 * 3  # with a line for each error
        assert max(map(len, lines)) <= columns
    assert len(invoke("tree", stock.root, "--all").stdout.splitlines()) == 1_001 + 100


@pytest.mark.parametrize("name", ["a_task_whose_name_has_no_room_in_eighty_columns_and_goes_on", "漢" * 40])
def test_a_long_name_gives_way_to_what_stands_behind_it(invoke, app: Fanwood, terminal, name: str):
    @app.task(name=name)
    async def fails(n: int) -> int:
        raise ValueError("on purpose")

    @app.task
    async def parent(n: int) -> int:
        return len(await fails.aio_run_many([fails.create_bulk_run_item(i) for i in range(n)], return_exceptions=True))

    ref = parent.run_no_wait(30)
    assert ref.result(timeout=180) == 30
    terminal(80)
    lines = invoke("tree", ref.id).stdout.splitlines()
    assert "30 failed" in lines[1]
    failed = [line for line in lines if "✗" in line]
    ids = {short(run.id) for run in app.runs.list(status="failed", all_runs=True)}
    assert len(failed) == 3
    assert all(any(id_ in line for id_ in ids) for line in failed)
    assert max(map(text.columns, lines)) <= 80


def test_all_of_a_deep_tree(invoke, app: Fanwood):
    @app.task
    async def grow(input: int) -> int:
        if input == 0:
            return 1
        return sum(await grow.aio_run_many([grow.create_bulk_run_item(input - 1) for _ in range(2)]))

    ref = grow.run_no_wait(5)
    assert ref.result() == 32
    app.close()
    tree = json.loads(invoke("tree", ref.id, "--all", "--json").stdout)
    assert len(tree["runs"]) == 63
    assert all(run["expanded"] for run in tree["runs"])
    assert [run["id"] for run in tree["runs"] if not run["children"]] == [
        run["id"] for run in tree["runs"] if run["depth"] == 5
    ]


def test_the_critical_path(invoke, family):
    """From the root down to the child that ended last."""
    result = invoke("tree", family.id, "--critical")
    head, root, last = (line.split("\t") for line in result.stdout.splitlines())
    assert head == ["RUN", "STATE", "OWN", "TOOK", "SIBLINGS", "ID"]
    assert (root[0], root[5], last[4]) == ("bush", family.id, "27")
    path = json.loads(invoke("tree", family.id, "--critical", "--json").stdout)["path"]
    assert [step["task"] for step in path] == ["bush", last[0].split()[0]]
    assert 0 <= path[0]["own_seconds"] <= path[0]["seconds"]
    ends = [run["finished_at"] for run in json.loads(invoke("tree", family.id, "--all", "--json").stdout)["runs"][1:]]
    assert path[1]["finished_at"] == max(ends)
    refused = invoke("tree", family.id, "--critical", "--all")
    assert refused.exit_code == 2
    assert "do not go with it" in refused.stderr
