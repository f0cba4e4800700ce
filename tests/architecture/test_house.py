"""House rules: where time and chance come from, where SQL lives, how long things get, what is never used.

Exceptions are dicts of path and reason. An exception that nothing needs any more fails, so the lists only shrink.
"""

from __future__ import annotations

import ast
import importlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.architecture.sources import PACKAGE, SOURCE_ROOT, Module, our_modules, plant, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# Paths below src/fanwood, each with the reason why it may.
CLOCKS_AND_CHANCE = {
    "clock.py": "this is where time comes from",
    "ids.py": "this is where ids and random numbers come from",
}
MAX_FILE_LINES = 450
LONG_FILES: dict[str, tuple[int, str]] = {}  # "store/x.py": (lines it has now, reason)
MAX_FUNCTION_LINES = 70
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}  # "store/x.py:Class.method": (lines it has now, reason)


# --- time and chance -----------------------------------------------------------------------------------------------

_OF_TIME = re.compile(
    r"time\.(time|monotonic|perf_counter)(_ns)?|datetime\.datetime\.(now|utcnow|today)|datetime\.date\.today"
)
_OF_CHANCE = re.compile(
    r"(uuid|uuid_utils)\.uuid(1|4|6|7)|random\.\w+(\.\w+)*|secrets\.(token_\w+|choice|randbelow|randbits)|os\.urandom"
)


def clocks_and_chance(known: dict[str, Module], allowed: dict[str, str] = CLOCKS_AND_CHANCE) -> list[str]:
    """Uses of the machine's clocks, of random numbers and of random ids."""
    findings: list[str] = []
    used: set[str] = set()
    for module in known.values():
        for name, line in _stray_names(module):
            used.add(module.below_package)
            if module.below_package not in allowed:
                source = "an IdSource (fanwood.ids)" if _OF_CHANCE.fullmatch(name) else "a Clock (fanwood.clock)"
                findings.append(f"{module.at(line)}: {name}: take {source} as an argument instead.")
    return findings + _unneeded("CLOCKS_AND_CHANCE", allowed, used, known)


def _stray_names(module: Module) -> Iterator[tuple[str, int]]:
    origins = _origins(module)
    called = {id(node.func) for node in module.nodes if isinstance(node, ast.Call)}
    for node in module.nodes:
        name = _dotted(node, origins)
        if name == "random.Random" and id(node) not in called:
            continue  # an annotation: a random source taken as an argument is what we want
        if _OF_TIME.fullmatch(name) or _OF_CHANCE.fullmatch(name):
            yield name, getattr(node, "lineno", 1)


def _origins(module: Module) -> dict[str, str]:
    """What the names that a file imports stand for: `import time as t` makes t -> time."""
    origins: dict[str, str] = {}
    for node in module.nodes:
        if isinstance(node, ast.Import):
            origins.update({alias.asname: alias.name for alias in node.names if alias.asname})
            origins.update({(top := alias.name.partition(".")[0]): top for alias in node.names if not alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            origins.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return origins


def _dotted(node: ast.AST, origins: dict[str, str]) -> str:
    """`t.monotonic` as "time.monotonic"; empty for what isn't a plain dotted name that starts with an import."""
    if isinstance(node, ast.Name):
        return origins.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, origins)
        return f"{base}.{node.attr}" if base else ""
    return ""


# --- SQL -----------------------------------------------------------------------------------------------------------

# In capitals the first word is enough; otherwise the second must fit too, since prose begins with "Update the ..."
_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|PRAGMA|ALTER|DROP)(\s|$)")
_STATEMENT_IN_ANY_CASE = re.compile(
    r"\s*(select\s.+\sfrom\s|select\s+[\d*]|insert\s+(or\s+\w+\s+)?into\s|update\s+\w+\s+set\s|delete\s+from\s"
    r"|create\s+((unique|temp|temporary|virtual)\s+)?(table|index|view|trigger|schema)\s|pragma\s+\w+"
    r"|with\s+(recursive\s+)?\w+\s*(\([\w\s,]*\)\s*)?as\s+((not\s+)?materialized\s*)?\()",
    re.IGNORECASE | re.DOTALL,
)


def sql_outside_store(known: dict[str, Module]) -> list[str]:
    """SQL in strings anywhere but below store/."""
    findings: list[str] = []
    for module in known.values():
        if module.area == "store":
            continue
        docstrings = _docstrings(module)
        for node in module.nodes:
            match node:
                case ast.Constant(value=str(text)) if id(node) not in docstrings and _is_sql(text):
                    start = " ".join(text.split())[:40]
                    findings.append(f'{module.at(node.lineno)}: SQL "{start}": move it below store/, behind a verb.')
                case _:
                    pass
    return findings


def sql_files_outside_store(source_root: Path = SOURCE_ROOT) -> list[str]:
    package = source_root / PACKAGE
    return [
        f"src/{path.relative_to(source_root).as_posix()}:1: .sql files belong below store/."
        for path in sorted(package.rglob("*.sql"))
        if path.relative_to(package).parts[0] != "store"
    ]


def _is_sql(text: str) -> bool:
    return bool(_STATEMENT.match(text) or _STATEMENT_IN_ANY_CASE.match(text))


def _docstrings(module: Module) -> set[int]:
    """The strings that stand alone, as docstrings do."""
    return {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}


# --- length --------------------------------------------------------------------------------------------------------


def long_files(known: dict[str, Module], allowed: dict[str, tuple[int, str]] = LONG_FILES) -> list[str]:
    """Files over the limit."""
    lengths = {module.below_package: (len(module.text.splitlines()), module.at(1)) for module in known.values()}
    return _over("LONG_FILES", "Split it by duty.", MAX_FILE_LINES, lengths, allowed)


def long_functions(known: dict[str, Module], allowed: dict[str, tuple[int, str]] = LONG_FUNCTIONS) -> list[str]:
    """Functions over the limit, from `def` to their last line."""
    lengths: dict[str, tuple[int, str]] = {}
    for module in known.values():
        for name, node in _functions(module.tree):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            lengths[f"{module.below_package}:{name}"] = (lines, module.at(node.lineno))
    return _over("LONG_FUNCTIONS", "Name its steps.", MAX_FUNCTION_LINES, lengths, allowed)


def _functions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, child
            yield from _functions(child, f"{name}.")
        else:
            yield from _functions(child, outer)


def _over(
    ratchet: str, advice: str, limit: int, lengths: dict[str, tuple[int, str]], allowed: dict[str, tuple[int, str]]
) -> list[str]:
    findings: list[str] = []
    for key, (lines, place) in lengths.items():
        granted, _reason = allowed.get(key, (limit, ""))
        if lines > granted:
            findings.append(f"{place}: {key} has {lines} lines, and may have {granted}. {advice}")
        elif key in allowed and lines <= limit:
            findings.append(f"{place}: {key} fits the limit again: remove it from {ratchet} in test_house.py.")
    gone = allowed.keys() - lengths.keys()
    return findings + [f"{key} is gone: remove it from {ratchet} in test_house.py." for key in sorted(gone)]


# --- never ---------------------------------------------------------------------------------------------------------

_UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve"}
_SHELLS = {"os.system", "os.popen", "asyncio.create_subprocess_shell", "subprocess.getoutput"}


def never_used(known: dict[str, Module]) -> list[str]:
    """pickle and its kin, eval, exec, and shells."""
    findings: list[str] = []
    for module in known.values():
        origins = _origins(module)
        for node in module.nodes:
            what = _never(node, origins)
            if what:
                findings.append(f"{module.at(getattr(node, 'lineno', 1))}: {what}: stored and typed text is never run.")
    return findings


def _never(node: ast.AST, origins: dict[str, str]) -> str:
    match node:
        case ast.Import(names=names):
            unsafe = [alias.name for alias in names if alias.name.partition(".")[0] in _UNSAFE_MODULES]
            return ", ".join(unsafe)
        case ast.ImportFrom(module=str(name), level=0) if name.partition(".")[0] in _UNSAFE_MODULES:
            return name
        case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
            return f"{name}()"
        case ast.Call(func=func, keywords=keywords):
            shell = any(
                keyword.arg == "shell"
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                for keyword in keywords
            )
            dotted = _dotted(func, origins)
            return "shell=True" if shell else dotted if dotted in _SHELLS else ""
        case _:
            return ""


def _unneeded(ratchet: str, allowed: dict[str, str], used: set[str], known: dict[str, Module]) -> list[str]:
    """Exceptions for files that are there and need none; files that are yet to come may have one."""
    there = {module.below_package for module in known.values()}
    return [
        f"{path} needs no exception: remove it from {ratchet} in test_house.py."
        for path in allowed
        if path in there and path not in used
    ]


# --- the front door ------------------------------------------------------------------------------------------------


def front_door(names: Sequence[str], has: Callable[[str], bool]) -> list[str]:
    """`__all__` in order, without doubles, and all of it there."""
    where = f"src/{PACKAGE}/__init__.py:1: __all__"
    findings = [f"{where} names {name}, which can't be imported." for name in names if not has(name)]
    if list(names) != sorted(set(names)):
        findings.append(
            f"{where} is not in sorted() order, or names something twice. Make it:\n    {sorted(set(names))}"
        )
    return findings


def test_front_door():
    if PACKAGE not in our_modules():
        pytest.skip(f"there is no {PACKAGE}/__init__.py yet")
    door = importlib.import_module(PACKAGE)
    names = getattr(door, "__all__", None)
    assert names, f"src/{PACKAGE}/__init__.py has no __all__: list there what users import."
    findings = front_door(names, lambda name: hasattr(door, name))
    assert not findings, report(findings)


def test_what_the_front_door_hands_out_is_what_type_checkers_see():
    """It imports late, by name; they read the imports below TYPE_CHECKING."""
    door = importlib.import_module(PACKAGE)
    seen = {
        alias.asname or alias.name: getattr(importlib.import_module(str(node.module)), alias.name)
        for node in our_modules()[PACKAGE].nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{PACKAGE}.")
        for alias in node.names
    }
    assert {name: getattr(door, name) for name in door.__all__ if name != "__version__"} == seen
    assert set(door.__all__) <= set(dir(door))
    with pytest.raises(AttributeError, match="'fanwood' has no attribute 'annotations'"):
        door.annotations  # noqa: B018


def test_front_door_findings():
    assert front_door(["A", "b"], lambda _: True) == []
    assert "names A, which" in front_door(["A"], lambda _: False)[0]
    assert "sorted() order" in front_door(["b", "A"], lambda _: True)[0]
    assert "twice" in front_door(["A", "A"], lambda _: True)[0]


# --- the house as it stands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [clocks_and_chance, sql_outside_store, long_files, long_functions, never_used])
def test_house_is_in_order(check):
    findings = check(our_modules())
    assert not findings, report(findings)


def test_sql_files_are_in_the_store():
    findings = sql_files_outside_store()
    assert not findings, report(findings)


# --- the checks themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import time\nnow = time.time()",
        "import time as t\nnow = t.monotonic_ns()",
        "from time import perf_counter as tick\nnow = tick()",
        "import time\ndef tick(clock=time.monotonic): ...",
        "import datetime as dt\nnow = dt.datetime.now(dt.UTC)",
        "from datetime import datetime\nnow = datetime.now()",
        "import uuid\nnew = uuid.uuid4()",
        "import uuid_utils\nnew = uuid_utils.uuid7()",
        "import random\nnumber = random.random()",
        "from random import Random\nnumber = Random(1)",
        "import os\nbits = os.urandom(8)",
    ],
)
def test_stray_clocks_and_chance_are_found(tmp_path: Path, text: str):
    planted = plant(tmp_path, {"engine/loop.py": text})
    [finding] = clocks_and_chance(planted)
    assert finding.startswith("src/fanwood/engine/loop.py:2: ")
    assert finding.endswith("as an argument instead.")
    assert clocks_and_chance(planted, {"engine/loop.py": "a reason"}) == []


def test_time_and_chance_as_arguments_are_fine(tmp_path: Path):
    text = (
        "import random, time, uuid\ndef f(r: random.Random, time_of): time.sleep(r.random()); uuid.UUID(time_of.time())"
    )
    assert clocks_and_chance(plant(tmp_path, {"engine/loop.py": text})) == []


def test_an_exception_without_need_is_found(tmp_path: Path):
    planted = plant(tmp_path, {"engine/loop.py": ""})
    assert "remove it from CLOCKS_AND_CHANCE" in clocks_and_chance(planted, {"engine/loop.py": "a reason"})[0]


@pytest.mark.parametrize(
    "text",
    [
        "'SELECT 1'",
        "'''\n  INSERT INTO runs VALUES (?)'''",
        "f'UPDATE {table} SET x = 1'",
        "f('delete from runs')",
        "'create index i on runs (x)'",
        "'pragma data_version'",
        "'with due as materialized (select 1) select 2'",
        "'Select id from runs'",
    ],
)
def test_sql_is_found_outside_the_store_only(tmp_path: Path, text: str):
    planted = plant(tmp_path, {"engine/loop.py": f"sql = {text}", "store/rows.py": f"sql = {text}"})
    [finding] = sql_outside_store(planted)
    assert finding.startswith("src/fanwood/engine/loop.py:1: SQL ")


@pytest.mark.parametrize(
    "text",
    [
        "'''SELECT in a docstring is prose.'''",
        "x = 'Create a task first'",
        "x = 'update the runs from here'",
        "x = 'selected'",
    ],
)
def test_prose_is_not_sql(tmp_path: Path, text: str):
    assert sql_outside_store(plant(tmp_path, {"engine/loop.py": text})) == []


def test_sql_files_are_found_outside_the_store(tmp_path: Path):
    for folder in ("store/sqlite", "engine"):
        plant(tmp_path, {f"{folder}/claim.sql": "SELECT 1"})
    assert sql_files_outside_store(tmp_path / "src") == [
        "src/fanwood/engine/claim.sql:1: .sql files belong below store/."
    ]


def test_long_files_are_found(tmp_path: Path):
    planted = plant(tmp_path, {"app.py": "x = 1\n" * (MAX_FILE_LINES + 1), "errors.py": "x = 1\n" * MAX_FILE_LINES})
    [finding] = long_files(planted)
    assert finding == "src/fanwood/app.py:1: app.py has 451 lines, and may have 450. Split it by duty."
    assert long_files(planted, {"app.py": (MAX_FILE_LINES + 1, "a reason")}) == []


def test_long_functions_are_found(tmp_path: Path):
    body = "        x = 1\n" * (MAX_FUNCTION_LINES - 1)
    planted = plant(
        tmp_path,
        {"app.py": f"class A:\n    def fits(self):\n{body}\n    async def grows(self):\n{body}        y = 2\n"},
    )
    [finding] = long_functions(planted)
    assert finding == "src/fanwood/app.py:73: app.py:A.grows has 71 lines, and may have 70. Name its steps."
    assert long_functions(planted, {"app.py:A.grows": (MAX_FUNCTION_LINES + 1, "a reason")}) == []


def test_the_ratchet_only_shrinks(tmp_path: Path):
    planted = plant(tmp_path, {"app.py": ""})
    assert "fits the limit again" in long_files(planted, {"app.py": (500, "a reason")})[0]
    assert "gone.py is gone" in long_files(planted, {"gone.py": (500, "a reason")})[0]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import shelve, os",
        "eval('1')",
        "exec('x = 1')",
        "run('ls', shell=True)",
        "run('ls', shell=wanted)",
        "import os; os.system('ls')",
    ],
)
def test_what_is_never_used_is_found(tmp_path: Path, text: str):
    [finding] = never_used(plant(tmp_path, {"engine/loop.py": text}))
    assert finding.startswith("src/fanwood/engine/loop.py:1: ")


def test_what_only_sounds_like_it_is_fine(tmp_path: Path):
    text = "connection.exec('x')\nrun('ls', shell=False)\nretrieval(1)\nfrom fanwood.pickles import jar"
    assert never_used(plant(tmp_path, {"engine/loop.py": text})) == []
