"""Budgets: what a run and all below it may use, to the last millionth.

Of each limit there is one row. A child that is given a part of its parent's has rows of its own, and as long as it
lives its part is *held* in the row of its parent's; where it has no limit of its own there is a row that says whose
counts (`source`). When its owner has ended a part is closed: what was used of it is used of the parent's, and what is
left is free again. What those below it still use (they may outlive it) is then used of both.

Amounts are integers: millionths of a unit and of a second; runs and depths as they are.
"""

from __future__ import annotations

import msgspec

RUNS, DEPTH, SECONDS = "~runs", "~depth", "~seconds"
"""Limits that are no units. No unit's name begins like that."""
SCALE = 1_000_000
"""Of units and seconds."""
MOST = 10**18
"""No amount is larger: some of them fit into an integer of a database together."""
TOTAL = bytes(16)
"""What is counted for a run itself, and was not asked for by a `Spend`, stands under this id."""


class Limit(msgspec.Struct):
    """A row. `used + held <= amount`, but for seconds, which are charged when they are over."""

    run_id: bytes  # to whom the budget was given
    unit: str
    source: bytes  # whose row counts: its own, or that of somebody above
    root_id: bytes
    parent: bytes | None = None  # of a part: whose it is a part of
    size: int = 0  # as it was given
    amount: int = 0  # with what was used before, if it was given more than once (replayed)
    used: int = 0
    held: int = 0  # in parts of others, and reserved
    base: int = 0  # used before it was given last
    open: int = 1  # 0: its owner has ended


class Spent(msgspec.Struct):
    """What one run has spent at once, or holds (`held`): a row of its own, which tells who burnt what."""

    run_id: bytes
    id: bytes
    unit: str
    root_id: bytes
    source: bytes | None  # of whose budget; None: of nobody's
    attempt: int
    amount: int
    held: int = 0


class Spend(msgspec.Struct):
    """A running attempt spends, or reserves (`reserve`); or (`of`) spends what it has reserved, or lets go of the rest
    (`release`). What was done under an id is not done again."""

    run_id: bytes
    attempt: int
    id: bytes
    amounts: dict[str, int] = {}
    reserve: bool = False
    of: bytes | None = None
    release: bool = False


class Refusal(msgspec.Struct, array_like=True, frozen=True):
    """Why something is not done. `owner` is hex, and empty if the attempt is over."""

    unit: str
    most: int = 0
    used: int = 0
    wanted: int = 0
    owner: str = ""
    held: int = 0  # of what is used: what others hold, and may give back

    @property
    def is_fenced(self) -> bool:
        """Whether the attempt is over."""
        return not self.owner


class Overdrawn(Exception):  # noqa: N818  (told as a BudgetExceeded to who asked)
    """Nothing of a transaction was done, as these (runs that were to be born, or to be run again) would use more than
    there is."""

    def __init__(self, refused: dict[bytes, Refusal]) -> None:
        super().__init__(f"{len(refused)} would use more than there is")
        self.refused = refused


class Balance(msgspec.Struct, frozen=True):
    """A limit, for people to see."""

    run_id: bytes
    unit: str
    amount: int
    used: int
    held: int
    open: bool


class Counted(msgspec.Struct, frozen=True):
    """A limit as it stands, and what it should be by all that it comes from."""

    run_id: bytes
    unit: str
    amount: int
    used: int
    held: int
    used_of: int  # what runs have used of it, and its closed parts
    held_of: int  # what is reserved of it, and given away in parts
    left_over: int  # reservations of it whose attempts are over
    closed: bool  # a part whose owner has ended: what is used of it has no room but that of its parent
