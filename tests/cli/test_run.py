from __future__ import annotations

import json

import pytest


def test_runs_here_with_app(program):
    result = program("run", "total", "--input", '{"n": 4}', "--app", "shop:fanwood")
    assert (result.returncode, result.stdout) == (0, "14\n")
    assert result.stderr.startswith("run ")


def test_json_and_watch(program, invoke):
    result = program("run", "total", "--input", "-", "--app", "shop", "--json", "--watch", stdin='{"n": 4}')
    run = json.loads(result.stdout)
    assert (result.returncode, run["task"], run["status"], run["input"], run["output"]) == (
        0, "total", "COMPLETED", {"n": 4, "name": ""}, 14,
    )  # fmt: skip


def test_with_a_budget(program, invoke):
    limits = [f"--budget={each}" for each in ("runs=9", "depth=3", "seconds=5m", "usd=0.1")]
    result = program("run", "total", "--input", '{"n": 4}', "--app", "shop:fanwood", *limits, "--json")
    assert result.returncode == 0
    said = json.loads(program("tree", json.loads(result.stdout)["id"], "--json").stdout)
    assert {each["unit"]: each["amount"] for each in said["budget"]} == {
        "runs": "9", "depth": "3", "seconds": "300", "usd": "0.1",
    }  # fmt: skip
    for wrong in ("runs", "=3", "runs=", "runs=x", "runs=-1", "usd=NaN", "usd=-1", "seconds=soon", "usd=1e999999999"):
        result = program("run", "total", "--app", "shop:fanwood", "--budget", wrong)
        assert result.returncode == 2, wrong
        assert len(result.stderr.splitlines()) == 1, result.stderr
    result = program("run", "total", "--app", "shop:fanwood", "--budget", "usd=1", "--budget", "usd=2")
    assert "each name once" in result.stderr


def test_failed(program):
    result = program("run", "broken", "--input", '{"n": 4}', "--app", "shop:fanwood")
    assert result.returncode == 1
    assert "error: broken failed: ValueError: no stock left (run " in result.stderr
    assert 'shop.py", line ' in result.stderr
    assert "\x1b" not in result.stderr
    assert "fanwood/worker" not in result.stderr


def test_cancelled(program):
    result = program("run", "cancelled", "--app", "shop:fanwood")
    assert result.returncode == 3
    assert "error: cancelled was cancelled: " in result.stderr


def test_wait_timed_out(program, invoke):
    result = program("run", "endless", "--app", "shop:fanwood", "--timeout", "0.1", "--watch")
    assert result.returncode == 4
    assert "endless has not ended within 0.1 s; it goes on where there is a worker" in result.stderr
    [run] = json.loads(invoke("runs", "ls", "--json").stdout)["runs"]
    assert run["status"] == "QUEUED"


def test_by_name_through_the_store(program, invoke, here):
    program("run", "square", "--input", '{"n": 4}', "--app", "shop:fanwood")
    (here / "input.json").write_text('{"n": 5}', encoding="utf-8")
    options = ("--no-wait", "--priority", "7", "--metadata", '{"who": "me"}')
    queued = invoke("run", "square", "--input", "@input.json", *options)
    assert queued.exit_code == 0
    run = json.loads(invoke("runs", "get", queued.stdout.strip(), "--json").stdout)
    assert (run["status"], run["priority"], run["metadata"]) == ("QUEUED", 7, {"who": "me"})
    assert run["input"] == {"n": 5}

    unknown = invoke("run", "sqare")
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("error: There is no task named 'sqare'. Did you mean square? Known tasks: ")


def test_nobody_serves_it(program, invoke, monkeypatch):
    program("run", "square", "--input", '{"n": 4}', "--app", "shop:fanwood")
    monkeypatch.setenv("FANWOOD_NO_WORKER_WARNING", "0.05")
    for limit in ("0.2", "3", "30"):  # in which it has looked who serves it
        result = invoke("run", "square", "--timeout", limit)
        assert result.exit_code == 4
        if "warning" in result.stderr:
            break
    assert "warning: no live worker serves square: its run stays queued until one does. Start one with" in result.stderr


def test_input_that_does_not_fit(program, here):
    result = program("run", "square", "--input", '{"n": "x", "name": 3}', "--app", "shop:fanwood")
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "error: the input of square: 2 problems"
    assert {line.partition(":")[0] for line in lines[1:]} == {"  n", "  name"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"n": 1', "error: --input is not JSON: line 1, column 8: Expecting ',' delimiter.\n"),
        (
            "{n: 1}",
            (
                "error: --input is not JSON: line 1, column 2, at 'n: 1}': Expecting property name enclosed in double "
                "quotes. In a shell, put JSON in single quotes.\n"
            ),
        ),
        ("NaN", "error: --input is not JSON: NaN is no JSON value\n"),
        (r'["\ud800"]', "error: --input has half of a surrogate pair in a text, which is no character\n"),
        ("", "error: --input is not JSON: line 1, column 1: Expecting value.\n"),
        ("[" * 100_000, "error: --input is nested too deeply\n"),
        ("@nowhere.json", "error: --input: nowhere.json can't be read: No such file or directory\n"),
    ],
    ids=["cut off", "no quotes", "NaN", "half a pair", "empty", "deep", "no file"],
)
def test_bad_json(invoke, text, message):
    result = invoke("run", "square", "--input", text)
    assert (result.exit_code, result.stderr) == (2, message)


def test_bad_options(invoke):
    assert invoke("run", "square", "--timeout", "soon").stderr.startswith("error: --timeout must be a duration")
    bad = invoke("run", "square", "--metadata", "[1]")
    assert bad.stderr == "error: --metadata must be a JSON object such as '{\"who\": \"me\"}', and is '[1]'\n"
    assert invoke("run", "square", "--url", "mysql://me:secret@host/db").stderr == (
        "error: 'mysql://me:***@host/db' is not a database URL that this version knows. "
        "Use sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql://user:password@host:port/database; "
        "memory: keeps nothing\n"
    )


def test_idempotency_key(program, invoke):
    first = program("run", "square", "--input", '{"n": 4}', "--app", "shop:fanwood", "--idempotency-key", "k")
    assert (first.returncode, first.stdout) == (0, "16\n")
    again = invoke("run", "square", "--input", '{"n": 4, "name": ""}', "--idempotency-key", "k", "--no-wait")
    assert again.stdout.strip() in first.stderr
    other = invoke("run", "square", "--input", '{"n": 5, "name": ""}', "--idempotency-key", "k")
    assert other.exit_code == 2
    assert "error: The idempotency key 'k' is taken: it belongs to square" in other.stderr


def test_what_failed_is_told_once(program):
    result = program("run", "broken", "--app", "shop:fanwood", "--input", '{"n": 1}')
    assert result.returncode == 1
    assert result.stderr.count("ValueError: no stock left") == 2  # the sentence, and the end of the traceback
    assert "broken failed (run" not in result.stderr
