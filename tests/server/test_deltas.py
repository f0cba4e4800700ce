"""What is different, and what the page makes of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fanwood.server.deltas import patch

INNER = st.fixed_dictionaries({}, optional={"n": st.integers(0, 3), "list": st.lists(st.integers(0, 2), max_size=4)})
PICTURES = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(0, 2),
        "text": st.text("ab", max_size=1),
        "list": st.lists(INNER, max_size=4),
        "object": INNER,
        "by_name": st.dictionaries(st.sampled_from(["1", "length", "a"]), INNER, max_size=3),
    },
)
"""What is a list in one is none of anything else in the other: each field has its type."""


def applied(old: Any, change: Any) -> Any:
    """As `web/core/patch.js` does it."""
    if isinstance(old, list) and isinstance(change, dict):
        found = old[: change.get("length", len(old))]
        for place, value in sorted((int(place), value) for place, value in change.items() if place != "length"):
            found[place:] = [applied(found[place], value) if place < len(found) else value, *found[place + 1 :]]
        return found
    if not isinstance(old, dict) or not isinstance(change, dict):
        return change
    kept = {name: value for name, value in old.items() if change.get(name, 0) is not None}
    new = {
        name: applied(old[name], value) if name in old else value for name, value in change.items() if value is not None
    }
    return kept | new


@settings(max_examples=60, deadline=None)
@given(PICTURES, PICTURES)
def test_that_the_older_picture_becomes_the_newer(old: dict[str, Any], new: dict[str, Any]):
    change = patch(old, new)
    assert applied(old, change) == new
    assert (change == {}) == (old == new)


def test_that_only_what_changed_is_said():
    old = {"counts": {"queued": 5, "failed": 1}, "bins": [1, 2, 3], "gone": 1, "same": {"a": 1}}
    new = {"counts": {"queued": 4, "failed": 1}, "bins": [1, 9, 3, 4], "same": {"a": 1}, "new": [1]}
    assert patch(old, new) == {"gone": None, "counts": {"queued": 4}, "bins": {"1": 9, "3": 4}, "new": [1]}
    assert patch({"bins": [1, 2, 3]}, {"bins": [1]}) == {"bins": {"length": 1}}
