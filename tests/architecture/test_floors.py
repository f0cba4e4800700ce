"""The floors of the house: an import may only point down, and never in a ring.

Every import counts: at the top of the file, in a function, below TYPE_CHECKING. A module that is needed from above
and below belongs on the lower floor; what a lower floor needs from a higher one is handed to it as an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.architecture.sources import PACKAGE, Module, imports, our_modules, plant, report

if TYPE_CHECKING:
    from pathlib import Path

FLOORS = {
    # 0: pure, no I/O
    "errors": 0,
    "clock": 0,
    "ids": 0,
    "logs": 0,
    "settings": 0,
    "durations": 0,
    "checks": 0,
    "handed": 0,
    "codec": 0,
    "model": 0,
    # 1: the only place that knows SQL
    "store": 1,
    # 2: the loop: batches, claims, waits, leases, timers; and how trees are read
    "engine": 2,
    "lens": 2,
    # 3: what a user imports: task, workflow, context, refs, options
    "sdk": 3,
    # 4: executors, slots, shutdown
    "worker": 4,
    # 5: the object that holds it all together
    "home": 5,
    "app": 5,
    "pooled": 5,
    "hatchet": 5,
    "pydantic_ai": 5,
    # 6: for people
    "cli": 6,
    "demo": 6,
    "server": 6,
    "mcp": 6,
    "__main__": 6,
}

ROOMS = {
    "sdk": {
        # what is declared, and what a caller says
        "listing": 0,
        "declaring": 0,
        # one attempt, in the process that executes it
        "running": 1,
        # what a run records, and what code that is run again finds of it
        "recording": 2,
        # children, and what a run waits for that is none
        "children": 3,
        "waits": 3,
        # tasks, workflows and their context; runs, as they are seen from anywhere
        "tasks": 4,
        "client": 4,
    }
}
"""Within a large package: floors of its own."""

ANYTHING_GOES = {"", "testing"}  # `fanwood/__init__.py` and `fanwood/testing/` may import from any floor


def homeless(known: dict[str, Module]) -> list[str]:
    """Modules that are on no floor."""
    astray = [
        f"{module.at(1)}: {module.name} is in none of the rooms of {module.area}. Move it into one: ROOMS in "
        f"tests/architecture/test_floors.py."
        for module in known.values()
        if module.area in ROOMS and module.name.count(".") > 1 and module.name.split(".")[2] not in ROOMS[module.area]
    ]
    return astray + [
        f"{module.at(1)}: {module.name} is on no floor. Add {module.area!r} to FLOORS in "
        f"tests/architecture/test_floors.py, or move the file into a package that is there."
        for module in known.values()
        if module.area not in FLOORS and module.area not in ANYTHING_GOES
    ]


def upward(known: dict[str, Module]) -> list[str]:
    """Imports that point up, at `fanwood` itself or at `fanwood.testing`."""
    findings: list[str] = []
    for module in known.values():
        for found in imports(module, known):
            complaint = _complaint(module.area, found.target) or _indoors(module, found.target)
            if complaint:
                findings.append(f"{module.at(found.line)}: {module.name} imports {found.target}: {complaint}")
    return sorted(set(findings))


def _complaint(area: str, target: str) -> str:
    target_area = target.removeprefix(PACKAGE).lstrip(".").partition(".")[0]
    if area in {"testing", target_area}:
        return ""
    if target_area == "":
        return "import from the submodule that defines the name, not from the package's front door."
    if target_area == "testing":
        return "nothing imports testing/. Move what is needed to the floor that needs it."
    if area in FLOORS and FLOORS.get(target_area, -1) > FLOORS[area]:
        return (
            f"floor {FLOORS[area]} can't import from floor {FLOORS[target_area]}. Move the name down, or take it as "
            f"an argument."
        )
    return ""


def _indoors(module: Module, target: str) -> str:
    """The same within a package that has floors of its own."""
    rooms, its, there = ROOMS.get(module.area), module.name.split("."), target.split(".")
    if rooms is None or len(its) < 3 or len(there) < 3 or there[1] != module.area or its[2] == there[2]:
        return ""
    if rooms.get(there[2], -1) < rooms.get(its[2], -1):
        return ""
    return f"{module.area}/{its[2]} can't import from {module.area}/{there[2]}, which is not below it."


def rings(known: dict[str, Module]) -> list[str]:
    """Modules that import each other, directly or around some corners; one finding for each ring."""
    edges: dict[str, dict[str, int]] = {name: {} for name in known}
    for module in known.values():
        for found in imports(module, known):
            if found.target in known:
                edges[module.name].setdefault(found.target, found.line)

    findings: list[str] = []
    seen: set[str] = set()
    for name in edges:
        ring = [] if name in seen else _way_back(name, edges)
        if ring:
            seen.update(ring)
            steps = [
                f"{known[here].at(edges[here][there])} imports {there}"
                for here, there in zip(ring, [*ring[1:], ring[0]], strict=True)
            ]
            findings.append(
                "imports form a ring; move what the modules share to one that imports neither:\n    "
                + "\n    ".join(steps)
            )
    return findings


def _way_back(start: str, edges: dict[str, dict[str, int]]) -> list[str]:
    """The shortest ring through `start`; empty if there is none."""
    came_from: dict[str, str] = {}
    queue = [start]
    for here in queue:
        for there in edges[here]:
            if there == start:
                ring = [here]
                while ring[-1] != start:
                    ring.append(came_from[ring[-1]])
                return ring[::-1]
            if there not in came_from:
                came_from[there] = here
                queue.append(there)
    return []


# --- the house as it stands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [homeless, upward, rings])
def test_house_stands(check):
    findings = check(our_modules())
    assert not findings, report(findings)


# --- the checks themselves -----------------------------------------------------------------------------------------


def test_a_module_without_a_floor_is_found(tmp_path: Path):
    [finding] = homeless(plant(tmp_path, {"__init__.py": "", "errors.py": "", "attic.py": "", "testing/x.py": ""}))
    assert finding.startswith("src/fanwood/attic.py:1: fanwood.attic is on no floor. Add 'attic' to FLOORS")


@pytest.mark.parametrize(
    "statement",
    [
        "import fanwood.engine.loop",
        "import fanwood.engine.loop as loop",
        "from fanwood.engine.loop import Loop",
        "from fanwood.engine import loop",
        "from fanwood import engine",
        "from ..engine import loop",
        "from ..engine.loop import Loop",
        "from .. import engine",
        "from fanwood.engine.not_yet_written import Loop",
        "def late():\n    from fanwood.engine import loop",
        "if TYPE_CHECKING:\n    from fanwood.engine import loop",
        "importlib.import_module('fanwood.engine.loop')",
    ],
)
def test_an_import_that_points_up_is_found(tmp_path: Path, statement: str):
    package = {"store/rows.py": statement, "engine/__init__.py": "", "engine/loop.py": ""}
    [finding] = upward(plant(tmp_path, package))
    line = statement.count("\n") + 1
    assert finding.startswith(f"src/fanwood/store/rows.py:{line}: fanwood.store.rows imports fanwood.engine")
    assert "floor 1 can't import from floor 2" in finding


@pytest.mark.parametrize(
    "statement", ["import fanwood", "from fanwood import Task", "from .. import Task", "from fanwood import *"]
)
def test_the_front_door_is_not_for_residents(tmp_path: Path, statement: str):
    [finding] = upward(plant(tmp_path, {"__init__.py": "", "worker/task.py": statement}))
    assert "src/fanwood/worker/task.py:1: fanwood.worker.task imports fanwood: import from the submodule" in finding


def test_nothing_imports_testing(tmp_path: Path):
    package = {
        "testing/__init__.py": "",
        "cli/main.py": "import fanwood.testing",
        "__init__.py": "from . import testing",
    }
    findings = upward(plant(tmp_path, package))
    assert len(findings) == 2
    assert all("nothing imports testing/" in finding for finding in findings)


def test_imports_that_point_down_or_sideways_are_fine(tmp_path: Path):
    package = {
        "__init__.py": "from fanwood.sdk.tasks.task import Task\nfrom fanwood.app import App",
        "app.py": "from fanwood.sdk.tasks.task import Task\nfrom fanwood import errors\nimport asyncio",
        "sdk/tasks/task.py": "from fanwood.sdk.children.refs import Ref\nfrom ..errors import FanwoodError",
        "sdk/children/refs.py": "from fanwoodlike import x",
        "errors.py": "",
        "cli/main.py": "from fanwood.demo import tree",
        "demo/tree.py": "",
        "testing/sim.py": "from fanwood import Task\nfrom fanwood.cli import main",
    }
    planted = plant(tmp_path, package)
    assert not homeless(planted) + upward(planted) + rings(planted)


def test_a_ring_is_found(tmp_path: Path):
    package = {
        "store/__init__.py": "",
        "store/a.py": "import os\nfrom fanwood.store.b import B",
        "store/b.py": "def late():\n    from . import c",
        "store/c.py": "if TYPE_CHECKING:\n    from fanwood.store.a import A",
        "store/d.py": "from fanwood.store.a import A",
    }
    [finding] = rings(plant(tmp_path, package))
    assert finding.splitlines()[1:] == [
        "    src/fanwood/store/a.py:2 imports fanwood.store.b",
        "    src/fanwood/store/b.py:2 imports fanwood.store.c",
        "    src/fanwood/store/c.py:2 imports fanwood.store.a",
    ]


def test_a_package_in_a_ring_with_its_own_module_is_found(tmp_path: Path):
    package = {
        "model/__init__.py": "from fanwood.model.states import S",
        "model/states.py": "from fanwood.model import T",
    }
    [finding] = rings(plant(tmp_path, package))
    assert "src/fanwood/model/__init__.py:1 imports fanwood.model.states" in finding
