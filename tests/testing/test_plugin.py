"""The fixture in sessions of pytest: with no other plugin, and beside those that others have."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
NAME = "fanwood.testing.plugin"
ASYNCIO = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function", "-o"]
QUIET = ["-W", "error", "-p", "no:cacheprovider", "--tb=line"]

MODULE = """
    import asyncio
    import pytest
    from fanwood import Fanwood

    app = Fanwood("sqlite:////dev/null/x.db")

    @app.task
    async def child(n: int) -> int:
        await asyncio.sleep(86_400)
        return n + 1

    @app.task
    def parent(n: int) -> int:
        return child.run(n)
"""
TESTS = """
    import asyncio
    import pytest
    from tasks import app, child, parent

    @pytest.fixture
    def number():
        return 3

    def test_sync(fanwood_app, number):
        assert parent.run(number) == 4

    async def test_async(fanwood_app, number):
        begin = fanwood_app.now()
        assert await asyncio.gather(parent.aio_run(number), child.aio_run(1)) == [4, 2]
        assert (fanwood_app.now() - begin).days == 1

    @pytest.mark.parametrize("n", [1, 2])
    async def test_parametrised(fanwood_app, n):
        assert await child.aio_run(n) == n + 1

    class TestClass:
        async def test_method(self, fanwood_app):
            assert await child.aio_run(1) == 2

    async def test_that_fails_inside(fanwood_app):
        stub = fanwood_app.stub(child, returns=7)
        assert await parent.aio_run(1) == 8

    def test_that_fails_while_something_executes(fanwood_app):
        parent.run_no_wait(1)
        fanwood_app.drain()
        assert parent.run(1) == 8

    def test_that_nothing_is_left_of_them(fanwood_app):
        assert app.runs.list() == []
        assert parent.run(1) == 2
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """In a session with no other plugins than those that are named."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(tasks=MODULE, test_tasks=tests)
        return pytester.runpytest_inprocess("-p", NAME, *QUIET, *arguments)

    return run


def test_that_pytest_finds_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"fanwood": NAME}


def test_with_no_other_plugin(run):
    run(TESTS).assert_outcomes(passed=6, failed=2)


def test_the_example(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT)
    run(
        "", str(ROOT / "examples" / "testing"), "--rootdir", str(ROOT), "-o", "addopts=", "-c", "/dev/null"
    ).assert_outcomes(passed=6)


@pytest.mark.parametrize("mode", ["auto", "strict", "marked"])
def test_beside_the_asyncio_plugin_whether_it_runs_all_tests_or_those_that_are_marked(run, mode: str):
    tests = TESTS
    if mode == "marked":
        mode, tests = "strict", tests.replace("async def", "@pytest.mark.asyncio\n    async def", 1)
    run(tests, *ASYNCIO, f"asyncio_mode={mode}").assert_outcomes(passed=6, failed=2)


def test_beside_an_async_fixture_of_the_asyncio_plugin(run):
    run(
        """
        import asyncio
        import pytest_asyncio
        from tasks import child

        @pytest_asyncio.fixture
        async def event():
            event = asyncio.Event()
            asyncio.get_running_loop().call_later(3600, event.set)
            yield event
            await asyncio.sleep(0)

        async def test_it(event, fanwood_app):
            assert await child.aio_run(1) == 2
            await event.wait()

        async def test_the_other_way_round(fanwood_app, event):
            await event.wait()
            assert await child.aio_run(1) == 2
        """,
        *ASYNCIO,
        "asyncio_mode=auto",
    ).assert_outcomes(passed=2)


def test_beside_anyio_s_plugin(run):
    run(
        """
        import pytest
        from tasks import child, parent

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def number():
            yield 1

        async def test_it(fanwood_app, number):
            assert await child.aio_run(number) == 2
            assert await parent.aio_run(number) == 2
        """,
        "-p",
        "anyio.pytest_plugin",
    ).assert_outcomes(passed=1)


@pytest.mark.long
def test_with_xdist(run):
    result = run(TESTS, "-p", "xdist.plugin", "-p", "xdist.looponfail", "-n", "2")
    result.assert_outcomes(passed=6, failed=2)


def test_that_a_fixture_of_one_s_own_may_take_its_place(run):
    run(
        """
        import pytest
        from fanwood.testing import on_memory
        from tasks import child

        @pytest.fixture(autouse=True)
        def fanwood_app():
            with on_memory(patience=30) as app:
                app.stub(child, returns=5)
                yield app

        async def test_async():
            assert await child.aio_run(1) == 5
        """
    ).assert_outcomes(passed=1)


def test_that_the_plugin_is_light_and_that_the_rest_needs_no_pytest():
    code = """
import sys, fanwood.testing.plugin
print([name for name in sys.modules if name.startswith('fanwood.') and 'testing' not in name], 'apsw' in sys.modules)
sys.modules['pytest'] = None
from fanwood import Fanwood
from fanwood.testing import explore, on_memory
app = Fanwood('sqlite:////dev/null/x.db')
@app.task
def twice(n: int) -> int:
    return n * 2
with on_memory():
    print(twice.run(2), explore(twice, 3).answer)
"""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout.splitlines(), ended.stderr) == (["['fanwood.handed'] False", "4 6"], "")
