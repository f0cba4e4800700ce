"""What stands on an upper floor and is asked for from a lower one: the package's front door, which is on none, hands it
over, as something that is loaded when it is first needed."""

from __future__ import annotations

TYPE_CHECKING = False  # as in the package itself, which imports this first

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_loads: dict[str, Callable[[], Any]] = {}


def hand(name: str, load: Callable[[], Any]) -> None:
    """From above."""
    _loads[name] = load


def handed(name: str) -> Any:
    """Below."""
    return _loads[name]()
