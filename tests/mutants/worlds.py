"""One world after another in this process, for so many seconds of its processor: `python -m tests.mutants.worlds 60`.

It ends with 1 at the first that shows something wrong.
"""

from __future__ import annotations

import gc
import sys
import time
from itertools import count

from tests.simulation.__main__ import look_at


def main(seconds: float) -> int:
    gc.freeze()
    for seed in count():
        if wrong := look_at(seed).wrong:
            print(wrong)
            return 1
        if time.process_time() > seconds:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
