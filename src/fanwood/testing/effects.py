"""What code does to the outside, as a test sees it: a mail that is sent, a card that is charged."""

from __future__ import annotations

from typing import Any

from fanwood import checks
from fanwood.testing.ground import current, here


def record(what: str, *details: Any, exactly_once: bool = False) -> None:
    """It happens now. `explore` holds that it happens as often with a crash anywhere as without: at least; exactly, if
    that is what the code promises. Outside of any test this does nothing."""
    checks.storable(what, "what", checks.MAX_TEXT_LENGTH)
    checks.flag(exactly_once, "exactly_once")
    if current and not current[-1].over:
        current[-1].effects.append((what, details, exactly_once))


def recorded(what: str | None = None) -> list[tuple[Any, ...]]:
    """What has happened so far in this test, in order: the details of those of one name, or all, with their names."""
    happened = here().effects
    if what is None:
        return [(name, *details) for name, details, _ in happened]
    return [details for name, details, _ in happened if name == what]
