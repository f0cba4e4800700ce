"""One world after another in this process, for so many seconds of its processor: `python -m tests.mutants.worlds 60`;
`... 60 sqlite`: all of them on this store.

It ends with 1 at the first that shows something wrong.
"""

from __future__ import annotations

import gc
import sys
import time
from itertools import count

from tests.simulation.looking import look_at
from tests.simulation.shapes import SMALL, on


def main(seconds: float, store: str = "") -> int:
    gc.freeze()
    for seed in count():
        if wrong := look_at(seed, shape=on(store, SMALL)).wrong:
            print(wrong)
            return 1
        if time.process_time() > seconds:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *sys.argv[2:]))
