from __future__ import annotations

import pytest

COMMANDS = [
    ("demo",),
    ("worker",),
    ("run",),
    ("runs",),
    ("runs", "ls"),
    ("runs", "get"),
    ("runs", "cancel"),
    ("runs", "retry"),
    ("tree",),
    ("db",),
    ("db", "migrate"),
    ("db", "prune"),
    ("db", "copy"),
    ("doctor",),
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
    assert "--url" in shown or command == ("db", "copy")  # which has two
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


def test_help_imports_no_command_and_no_rich(program):
    import subprocess
    import sys

    code = (
        "import sys\nfrom fanwood.cli.main import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit:\n    pass\n"
        "late = [m for m in sys.modules if m == 'rich' or m.startswith('fanwood.cli.') "
        "and m.split('.')[-1] not in ('main', 'base', 'text')]\n"
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=30)


def test_bench_without_benchmarks(invoke, monkeypatch):
    from fanwood.cli import bench

    monkeypatch.setattr(bench, "__file__", "/nowhere/site-packages/fanwood/cli/bench.py")
    result = invoke("bench")
    assert result.exit_code == 2
    assert "they come with the source, not with the installed package" in result.stderr
