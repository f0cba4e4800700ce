"""How often something was declared in this process: who has gone through all of it need not do so again until then; and
whether what is declared again is meant to replace."""

import builtins
import itertools
import sys

_times = [0]
_numbers = itertools.count()


def note_declared() -> None:
    """Something was declared just now, and can be found."""
    _times[0] += 1


def times_declared() -> int:
    """To be asked before what is declared is gone through."""
    return _times[0]


def next_number() -> int:
    """Of what is declared: the later, the larger."""
    return next(_numbers)


def replaces() -> bool:
    """Whether this is a notebook or a session at a prompt, where what is declared again is meant to replace."""
    return hasattr(sys, "ps1") or hasattr(builtins, "get_ipython")
