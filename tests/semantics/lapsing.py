"""A lease that lapses when a test says so, and for as long as it takes somebody to notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fanwood.engine.lease import Lease
from fanwood.worker import verdicts


def lapsing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call what it returns, and there is no lease until a run was handed back. (To set the time of its end is not
    enough: a heartbeat that is under way beside it would renew it before anybody has looked.)"""
    lapses: list[bool] = []
    holds, handed_back = Lease.is_held.fget, verdicts.handed_back
    assert holds is not None

    def returned(run: verdicts.ClaimedRun) -> verdicts.Outcome:
        lapses.clear()
        return handed_back(run)

    monkeypatch.setattr(Lease, "is_held", property(lambda lease: not lapses and holds(lease)))
    monkeypatch.setattr(verdicts, "handed_back", returned)
    return lambda: lapses.append(True)
