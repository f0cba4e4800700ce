"""What all stores have in common of runs that calls of a tree share.

A call's link to what it shares stands in the link's row, in `awaits`: the id of what is shared, and that of the shared
run inside of which the call is (zeros: of none). So the links of a run are one range of an index of what waits, and in
that those from inside of one other run are one range: who waits for whom is found by as many looks as there are shared
runs that wait, however many calls there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.model.commands import Failure
from fanwood.store.failures import encode_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINKS = 500
"""So many are told of an end in one transaction ..."""
LINK_BYTES = 16_000_000
"""... and no more than so much of its output."""
MOST = 10_000
"""At so many shared runs is looked for a circle. (Of PostgreSQL's functions, too.)"""
NOBODY = bytes(16)
LAST_LINK = b"\xff" * 17
"""After every link's second part."""

UNSHARED = encode_failure(
    Failure("cancelled", message="nobody waits for it any more: all calls that shared it have ended")
)
"""What is said of a run whose last link has ended. (A test knows the place in SQL.)"""


def page_of(output: str | None) -> int:
    """How many links are told of an end at once."""
    return max(1, min(LINKS, LINK_BYTES // max(1, len(output or ""))))


def circle(inside: bytes, target: bytes, insides: Callable[[bytes, bytes], bytes | None]) -> list[bytes] | None:
    """The way by which `target` waits for `inside`, from `target` on, if there is one. `insides`: of the links of a
    run, the first that comes from inside of a shared run after this one. Empty: too much was to be looked at."""
    after: dict[bytes, bytes] = {inside: b""}
    line = [inside]
    for one in line:
        if one == target:
            way = [one]
            while way[-1] != inside:
                way.append(after[way[-1]])
            return way
        place = NOBODY
        while (waits := insides(one, place)) is not None:
            if waits not in after:
                after[waits] = one
                line.append(waits)
            place = waits
        if len(line) > MOST:
            return []
    return None


def circle_error(way: Sequence[tuple[str, bytes]]) -> str:
    """What is said, as it is stored, of a link that would close a circle: task and id of each shared run on the way."""
    if not way:
        message = (
            f"it can't be told whether this would wait for itself: more than {MOST:,} shared runs wait for each other"
        )
    else:
        names = [f"{task} {id_text(id_)}" for task, id_ in way]
        steps = "".join(f", which waits for {name}" for name in names[1:])
        message = (
            f"this would wait for itself: it is a part of {names[-1]}, and asks for {names[0]}{steps}. "
            if len(names) > 1
            else f"this would wait for itself: it is a part of {names[0]}, and asks for it. "
        ) + "Leave out share= where a shared run asks for what it is a part of, or give it another input."
    return encode_failure(Failure("failed", type="ShareCircleError", message=message))
