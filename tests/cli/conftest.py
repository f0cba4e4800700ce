"""Commands, called in this process (`invoke`) or as a program (`program`), and a store with something in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanwood import Fanwood
from fanwood.cli.main import cli

Invoke = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[str]"]

SHOP = """
from dataclasses import dataclass

from fanwood import Context, Fanwood

fanwood = Fanwood()
not_one = 5


@dataclass
class Order:
    n: int
    name: str = ""


@fanwood.task
async def square(input: Order) -> int:
    return input.n**2


@fanwood.task
async def total(input: Order) -> int:
    return sum(await square.aio_run_many([square.create_bulk_run_item(Order(i)) for i in range(input.n)]))


@fanwood.task
async def broken(input: Order) -> int:
    raise ValueError("no \\x1b[31mstock\\x07 left")


@fanwood.task
async def cancelled(input: dict, ctx: Context) -> None:
    await ctx.aio_cancel()
    await asyncio.sleep(30)


@fanwood.task
async def endless() -> None:
    await asyncio.Event().wait()


import asyncio  # noqa: E402
"""


@pytest.fixture
def here(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module `shop`, as the current one; and an environment that says where the database is."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FANWOOD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANWOOD_DATABASE_URL", url)
    source = str(Path(__file__).parents[2] / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")])))
    return tmp_path


@pytest.fixture
def invoke(here: Path) -> Invoke:
    def call(*args: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, list(args), input=stdin, prog_name="fanwood")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def program(here: Path) -> Program:
    def call(*args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fanwood", *args]
        return subprocess.run(command, cwd=here, input=stdin, capture_output=True, text=True, timeout=30, check=False)

    return call


@dataclass(frozen=True)
class Family:
    """A root with 25 children `leaf`, of which 2 failed, and 3 children `twig`."""

    id: str
    leaves: list[str]


@pytest.fixture
def family(here: Path, app: Fanwood) -> Family:
    @app.task
    async def leaf(input: dict[str, int]) -> int:
        app.get_current_context().log(f"leaf \x1b[31m{input['n']}\x1b[0m")
        if input["n"] < 2:
            raise ValueError("withered \x1b]0;title\x07away")
        return input["n"]

    @app.task
    async def twig(input: dict[str, int]) -> int:
        return input["n"]

    @app.task
    async def bush() -> int:
        leaves = [leaf.create_bulk_run_item({"n": n}) for n in range(25)]
        twigs = [twig.create_bulk_run_item({"n": n}, key=f"twig\x1b[1m {n}") for n in range(3)]
        return len(await bush.aio_run_many([*leaves, *twigs], return_exceptions=True))

    ref = bush.run_no_wait()
    assert ref.result() == 28
    children = app.runs.children(ref.id)
    found = Family(ref.id, [child.id for child in children if child.task_name == "leaf"])
    app.close()
    return found
