from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fanwood import Worker


@pytest.fixture(autouse=True)
def fresh_modules(here: Path):
    known, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if str(here) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shap:fanwood", "There is no module named 'shap' in {here} or on the Python path. Did you mean shop?"),
        ("shop:fanwod", "shop has no 'fanwod'. Did you mean fanwood?"),
        ("shop:nothing.like.it", "shop has no 'nothing.like.it'. There is shop:fanwood."),
        ("shop:not_one", "shop:not_one is neither a Fanwood nor a Worker, but an int. There is shop:fanwood."),
        ("shop.py:fanwood", "'shop.py:fanwood' names a file; name the module instead: shop:fanwood"),
        ("empty:fanwood", "empty:fanwood declares no tasks: nothing could run here. Does its module import those"),
        ("plain", "Say which object of plain: module:object. plain has no Fanwood at its top level."),
        ("exits:fanwood", "exits called sys.exit(3) when it was imported. Put what it does when it is run as a"),
        ("needs:fanwood", "needs can't be imported:\nTraceback (most recent call last):\n"),
        ("wrong:fanwood", 'wrong can\'t be imported:\n  File "{here}/wrong.py", line 1\n'),
    ],
)
def test_what_is_wrong(invoke, here: Path, target: str, message: str):
    (here / "empty.py").write_text("from fanwood import Fanwood\nfanwood = Fanwood()\n", encoding="utf-8")
    (here / "plain.py").write_text("", encoding="utf-8")
    (here / "exits.py").write_text("import sys\nsys.exit(3)\n", encoding="utf-8")
    (here / "needs.py").write_text("import surely_not_installed\n", encoding="utf-8")
    (here / "wrong.py").write_text("def (:\n", encoding="utf-8")
    result = invoke("worker", target)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message.format(here=here)}")
    assert not (here / "fanwood.db").exists()


def test_only_the_users_lines(invoke, here: Path):
    (here / "needs.py").write_text("import surely_not_installed\n", encoding="utf-8")
    assert invoke("worker", "needs").stderr == (
        "error: needs can't be imported:\n"
        "Traceback (most recent call last):\n"
        f'  File "{here}/needs.py", line 1, in <module>\n'
        "    import surely_not_installed\n"
        "ModuleNotFoundError: No module named 'surely_not_installed'\n"
    )


def test_a_worker_object_will_do(here: Path):
    from fanwood.cli.loading import app_of, load

    (here / "made.py").write_text(
        "from fanwood import Fanwood\n_app = Fanwood()\nworker = _app.worker(slots=3)\n", encoding="utf-8"
    )
    worker = load("made:worker")
    assert isinstance(worker, Worker)
    assert worker.slots == 3
    assert app_of(worker).tasks == []
