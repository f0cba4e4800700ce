"""The fixture in sessions of pytest: with no other plugin, and beside those that others have."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

NAME = "fanwood.testing.plugin"
INSTALLED = [] if any(point.value == NAME for point in entry_points(group="pytest11")) else ["-p", NAME]
"""An installation may be older than the plugin."""
ASYNCIO = ["-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:xdist", "-o"]
ALONE = ["-p", "no:asyncio", "-p", "no:anyio", "-p", "no:xdist", "-p", "no:timeout"]
WARNINGS = ["-W", "error", "-p", "no:cacheprovider", "--tb=line"]

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
def run(pytester: pytest.Pytester):
    def run(tests: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(tasks=MODULE, test_tasks=tests)
        return pytester.runpytest_inprocess(*INSTALLED, *WARNINGS, *arguments)

    return run


def test_with_no_other_plugin(run):
    run(TESTS, *ALONE).assert_outcomes(passed=6, failed=2)


def test_beside_the_asyncio_plugin_whether_it_runs_all_tests_or_those_that_are_marked(run):
    run(TESTS, *ASYNCIO, "asyncio_mode=auto").assert_outcomes(passed=6, failed=2)
    run(TESTS, *ASYNCIO, "asyncio_mode=strict").assert_outcomes(passed=6, failed=2)
    marks = TESTS.replace("import pytest\n", "import pytest\n    pytestmark = pytest.mark.asyncio\n", 1)
    result = run(marks, *ASYNCIO, "asyncio_mode=strict", "-W", "ignore::pytest.PytestWarning")
    result.assert_outcomes(passed=6, failed=2)


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
        "-p", "no:asyncio", "-p", "no:xdist",
    ).assert_outcomes(passed=1)  # fmt: skip


def test_with_xdist(run):
    result = run(TESTS.replace("assert await parent.aio_run(1) == 8", "pass"), "-p", "no:asyncio", "-n", "2")
    result.assert_outcomes(passed=7, failed=1)


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
        """,
        *ALONE,
    ).assert_outcomes(passed=1)


def test_that_the_plugin_is_light():
    code = (
        "import sys, fanwood.testing.plugin; "
        "print([m for m in sys.modules if m.startswith('fanwood.') and 'testing' not in m], 'apsw' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[] False"


def test_that_fanwood_needs_no_pytest():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from fanwood import Fanwood\nfrom fanwood.testing import explore, on_memory\n"
        "app = Fanwood('sqlite:////dev/null/x.db')\n"
        "@app.task\ndef twice(n: int) -> int:\n    return n * 2\n"
        "with on_memory():\n    print(twice.run(2), explore(twice, 3).answer)\n"
    )
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), ended.stderr) == ("4 6", "")
