"""How fast a tree comes on, for who has only just begun to look."""

from __future__ import annotations

import pytest

from fanwood.lens.pace import Pace
from fanwood.lens.picture import percentile

SECOND = 1_000_000


def test_what_ended_before_anybody_looked_counts():
    pace = Pace()
    pace.note(399 * SECOND, 50, changed=True)  # the tree was being read: no pace of its own
    pace.recall(400 * SECOND, 0, {100 * SECOND: 100, 390 * SECOND: 90})
    pace.note(400 * SECOND, 190, changed=True)
    assert pace.rate(30) == pytest.approx(90 / 30)
    assert pace.rate(300) == pytest.approx(90 / 300)
    assert pace.eta(90, 400) == pytest.approx((30, 300))


def test_a_young_tree_is_measured_from_its_beginning():
    pace = Pace()
    pace.recall(20 * SECOND, 10 * SECOND, {15 * SECOND: 30})
    pace.note(20 * SECOND, 30, changed=True)
    assert pace.rate(30) == pytest.approx(3)


def test_no_percentile_is_above_the_longest():
    assert percentile({34: 1}, 0.5) == 185_364
    assert percentile({34: 1}, 0.5, 150_000) == 150_000
