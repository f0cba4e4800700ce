"""Runs of a SQLite file start over: they go on with another input, and without what they had asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.lives import next_life
from fanwood.store.failures import ancestor_ended, life_said
from fanwood.store.sqlite.leaving import ALL, Gate, Leaving, encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fanwood.model.commands import Outcome

_SQL = load("sqlite/leaving.sql")
_indexes = msgspec.json.Decoder(list[int])
_lives = msgspec.json.Decoder(list[tuple[int, str | None]])


class Renewals:
    """Those of the outcomes of a batch by which runs start over, before they are handed back: whose attempts are not
    over."""

    def __init__(self, execute: Callable[..., Any], outcomes: Sequence[Outcome]) -> None:
        self._execute = execute
        self.left = [o for o in outcomes if o.renews]
        if self.left:
            pairs = encoded([(o.run_id.hex(), o.attempt) for o in self.left])
            self.left = [self.left[i] for i in _indexes.decode(execute(_SQL["suspendable"], {"rows": pairs}).get)]

    def renew(self, leaving: Leaving, now: int, closed: Collection[str]) -> bool:
        """They were handed back, but for those that were closed: the next attempts are the first of new lives. Whether
        something is closed now."""
        outcomes = [o for o in self.left if o.run_id.hex().upper() not in closed]
        if not outcomes:
            return False
        read = self._execute(_SQL["lives"], {"rows": encoded([(o.run_id.hex(),) for o in outcomes])}).get
        rows: list[tuple[str, int, str, str, str]] = []
        for outcome, (attempt, text) in zip(outcomes, _lives.decode(read), strict=True):
            life = next_life(text, attempt, now)
            rows.append((outcome.run_id.hex(), attempt, outcome.output or "null", life.text, life_said(life.number)))
        bindings = {"rows": encoded(rows)}
        self._execute(_SQL["renew_runs"], bindings)
        self._execute(_SQL["forget_suspended"], bindings)
        self._execute(_SQL["log_renewals"], {**bindings, "now": now})
        gates = [Gate(o.run_id.hex(), ALL, o.attempt, ancestor_ended(o.run_id, "started over"), 2) for o in outcomes]
        return leaving.close(now, gates)
