"""How often something was declared in this process: who has gone through all of it need not do so again until then."""

_times = [0]


def note_declared() -> None:
    """Something was declared just now, and can be found."""
    _times[0] += 1


def times_declared() -> int:
    """To be asked before what is declared is gone through."""
    return _times[0]
