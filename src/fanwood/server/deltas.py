"""What has changed between two pictures, as a patch for the older one. Pure.

A patch of an object names what changed: a value that is new, a patch of an object or list that was there, null for what
is gone. A patch of a list is an object: places by number (from its length on they are added), and `length` if it is
shorter now. Pictures hold no nulls (what is null is left out of them), and a list never becomes an object, so nothing
can be read in two ways.
"""

from __future__ import annotations

from typing import Any, cast


def patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Empty if nothing has changed."""
    found: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        if name not in old:
            found[name] = value
        elif value != old[name]:
            found[name] = _change(old[name], value)
    return found


def _change(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return patch(cast("dict[str, Any]", old), cast("dict[str, Any]", new))
    if isinstance(old, list) and isinstance(new, list):
        return _of_list(cast("list[Any]", old), cast("list[Any]", new))
    return new


def _of_list(old: list[Any], new: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        str(place): _change(before, after)
        for place, (before, after) in enumerate(zip(old, new, strict=False))
        if before != after
    }
    found |= {str(place): new[place] for place in range(len(old), len(new))}
    if len(new) < len(old):
        found["length"] = len(new)
    return found
