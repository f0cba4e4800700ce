"""Testing what is written with Fanwood: runs in memory, on virtual time, with children that run or are stubbed, and
with crashes wherever there may be one. `docs/howto/testing.md` shows how. For pytest there is a fixture, `fanwood_app`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanwood.testing import effects, faults
    from fanwood.testing.app import TestApp, drain, on_memory, travel, tree
    from fanwood.testing.errors import ExploreError, StuckError
    from fanwood.testing.exploring import Explored, explore
    from fanwood.testing.stubs import Stub

__all__ = [
    "ExploreError",
    "Explored",
    "Stub",
    "StuckError",
    "TestApp",
    "drain",
    "effects",
    "explore",
    "faults",
    "on_memory",
    "travel",
    "tree",
]

_HOMES = {
    "ExploreError": "errors",
    "Explored": "exploring",
    "Stub": "stubs",
    "StuckError": "errors",
    "explore": "exploring",
}
"""The modules of names that are not of `app`."""


def __getattr__(name: str) -> Any:
    """Names are imported when they are first asked for: pytest loads the plugin in every session."""
    if name in {"effects", "faults"}:
        return importlib.import_module(f"fanwood.testing.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fanwood.testing.{_HOMES.get(name, 'app')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
