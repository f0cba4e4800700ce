"""Each Python that a test starts reads this, in `make test` (`tests/beside/forks.py`): garbage is looked for seldom, as
in the tests themselves. While a program is imported nothing of it ends, and to look took a seventh of its time."""

import gc

gc.set_threshold(10_000, 20, 100)
