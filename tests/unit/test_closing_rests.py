"""How long sweeps rest between their pages."""

from __future__ import annotations

from typing import Any, cast

from fanwood.engine.closing import ELSEWHERE, LEAST_REST, LONGEST_REST, REST, Closing
from fanwood.model.records import Swept


def test_pages_that_end_nothing_come_less_and_less_often_until_one_does() -> None:
    """As where a failure climbs a chain of a thousand levels, each of which is closed, and below each nothing lives."""
    nobody = cast("Any", None)
    closing = Closing(nobody, nobody, nobody)
    vain = [closing._rest(Swept(0, more=True)) for _ in range(20)]
    assert vain[:3] == [ELSEWHERE] * 3
    assert vain == sorted(vain)
    assert vain[-1] == LONGEST_REST
    assert closing._rest(Swept(3, more=True, held=0.1)) == REST * 0.1
    assert closing._rest(Swept(0, more=True, looked=1)) == LEAST_REST
    assert closing._rest(Swept(0, more=True)) == ELSEWHERE
