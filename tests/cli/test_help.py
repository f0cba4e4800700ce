from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fanwood.cli import signs
from tests.chaos.scale import scaled

COMMANDS = [
    ("demo",),
    ("worker",),
    ("run",),
    ("runs",),
    ("runs", "ls"),
    ("runs", "get"),
    ("runs", "cancel"),
    ("runs", "retry"),
    ("runs", "rm"),
    ("logs",),
    ("tree",),
    ("top",),
    ("db",),
    ("db", "migrate"),
    ("db", "prune"),
    ("db", "copy"),
    ("doctor",),
    ("check",),
    ("docs",),
    ("mcp",),
    ("bench",),
]


def test_help_lists_every_command(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    for name in {name for name, *_ in COMMANDS}:
        assert f"\n  {name}" in result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_an_example(invoke, command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"\n  fanwood {' '.join(command)}" in result.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {("runs",), ("db",), ("bench",)}], ids=" ".join)
def test_every_command_has_json_and_url(invoke, command):
    shown = invoke(*command, "--help").stdout
    assert "--json" in shown
    assert "--url" in shown or command in {("db", "copy"), ("docs",), ("check",)}  # which have others, or none
    assert "JSON: " in shown


def test_version(invoke):
    import fanwood

    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"fanwood {fanwood.__version__}\n")


def test_misspelt_command(invoke):
    result = invoke("tre")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: There is no command 'tre'. Did you mean tree? There are: demo, worker, ")
    assert "Did you mean get?" in invoke("runs", "gte").stderr
    assert "Did you mean fanwood tree?" in invoke("runs", "tree").stderr


def test_help_imports_little(tmp_path):
    """To say what it is for, no command needs what it does it with; nor does a shell that completes commands."""
    code = (
        "import contextlib, io, os, sys\n"
        "from fanwood.cli.main import cli\n"
        "def below(group, words):\n"
        "    yield words\n"
        "    for name in group.list_commands(None) if hasattr(group, 'list_commands') else ():\n"
        "        yield from below(group.get_command(None, name), [*words, name])\n"
        "def call(words):\n"
        "    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as out, contextlib.suppress(SystemExit):\n"
        "        cli(words, prog_name='fanwood')\n"
        "    out.flush()\n"
        "    return out.buffer.getvalue().decode()\n"
        "heavy = {'rich', 'asyncio', 'logging', 'msgspec', 'apsw', 'uuid_utils', 'fanwood.app'}\n"
        "light = {'main', 'base', 'text', 'signs', 'arguments', 'selecting', 'commands'}\n"
        "def look(about):\n"
        "    assert not heavy & {*sys.modules}, (about, heavy & {*sys.modules})\n"
        "    late = [m for m in sys.modules if m.startswith('fanwood.cli.') and m.split('.')[2] not in light]\n"
        "    assert not late, (about, late)\n"
        "call(['--help'])\n"
        "assert not [m for m in sys.modules if m.startswith('fanwood.cli.commands')]\n"
        "asked = 0\n"
        "for words in below(cli, []):\n"
        "    assert 'Usage: fanwood' in call([*words, '--help']), words\n"
        "    look(words)\n"
        "    asked += 1\n"
        "assert asked > 35, asked\n"
        "os.environ.update(_FANWOOD_COMPLETE='bash_complete', COMP_WORDS='fanwood runs pa', COMP_CWORD='2')\n"
        "assert 'pause' in call([])\n"
        "look('completion')\n"
        "os.environ['COMP_WORDS'] = 'fanwood runs get '\n"
        "os.environ['COMP_CWORD'] = '3'\n"
        "assert not call([]).strip()\n"
        "look('completion of ids')\n"
        "del os.environ['_FANWOOD_COMPLETE']\n"
        "for words in ('runs ls', 'runs get', 'tree', 'logs', 'why', 'top'):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        call(words.split())\n"
        "    assert 'nothing has run there yet' in said.getvalue(), words\n"
        "    look(words)\n"
    )
    env = {**os.environ, "FANWOOD_DATABASE_URL": f"sqlite:///{tmp_path}/none.db"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300, env=env
    )
    assert done.returncode == 0, done.stderr


def test_bench_without_benchmarks(invoke, monkeypatch):
    from fanwood.cli import bench

    monkeypatch.setattr(bench, "__file__", "/nowhere/site-packages/fanwood/cli/bench.py")
    result = invoke("bench")
    assert result.exit_code == 2
    assert "they come with the source, not with the installed package" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("ls",), "Did you mean runs ls?"),
        (("list",), "Did you mean runs ls?"),
        (("show",), "Did you mean runs get?"),
        (("prune",), "Did you mean db prune?"),
        (("serve",), "Did you mean worker?"),
        (("wroker",), "Did you mean worker?"),
        (("runs", "delete"), "Did you mean rm?"),
        (("run", "double", "3"), "The input is given by --input."),
        (("worker", "shop", "--concurrency", "3"), "Did you mean '--slots'?"),
        (("logs", "--tail"), "Did you mean '--follow'?"),
        (("runs", "ls", "--state", "failed"), "Did you mean '--status'?"),
        (("runs", "ls", "--stauts", "failed"), "'--status'"),
        (("worker", "shop:fanwood", "-c", "8"), "Did you mean '--slots'?"),
        (("help",), "Did you mean --help?"),
        (("--url", "sqlite:///x.db", "runs", "ls"), "--url stands after the command"),
    ],
)
def test_names_from_elsewhere(invoke, arguments, meant):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert meant in result.stderr


def test_versions_short_option(invoke):
    assert invoke("-V").stdout == invoke("--version").stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [("--help",), ("runs", "ls"), ("runs", "ls", "--json"), ("doctor",)])
def test_an_output_that_is_full(here, stocked, arguments):
    stocked()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fanwood", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: the output can't be written: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", scaled(["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"], ["2>&-"]))
def test_what_is_closed_is_no_reason_to_fail_and_nothing_else_gets_its_number(here, closed: str):
    command = f"{sys.executable} -m fanwood run square --app shop:fanwood --input '{{\"n\": 3}}' {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == ("" if "1>" in closed else "9")


@pytest.mark.long
def test_completion_knows_ids_and_tasks(here, stocked):
    stock = stocked(queued=2)

    def offered(words: str, at: int) -> str:
        env = {**os.environ, "_FANWOOD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        command = [sys.executable, "-c", "from fanwood.cli.main import main; main()"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout

    assert offered("fanwood tree ", 2).split() == [f"plain,{id_[-8:]}" for id_ in (*stock.queued[::-1], stock.root)] + [
        "plain,@last"
    ]
    assert offered(f"fanwood runs cancel {stock.root[-8:-5]}", 3).split() == [f"plain,{stock.root[-8:]}"]
    assert offered("fanwood runs ls --task ord", 4).split() == ["plain,order"]
    assert offered("fanwood run ord", 2).split() == ["plain,order"]
    assert offered("fanwood docs note", 2).split() == ["plain,notebooks"]


def test_signs_that_a_terminal_can_not_show_have_others_of_one_column():
    text = "caf\u00e9 \u4e2d\u6587 cut\u2026 \u2022 one\ud800\u2026"
    assert text.encode("ascii", signs.ERRORS) == b"caf\\xe9 \\u4e2d\\u6587 cut> * one\\ud800>"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "fanwood", "docs", "--search", "\u2026"]
    found = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert found.stdout.isascii()
    assert "\\u2026" not in found.stdout + found.stderr
