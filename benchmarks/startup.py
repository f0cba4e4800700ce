"""What it takes to begin: whole processes, from outside."""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "fanout.py"
STARTS = 5
TIMEOUT = 60


def cold_seconds(children: int, folder: Path, environment: Mapping[str, str]) -> float:
    """The smallest program, on a database that is not there yet. The median of several starts."""
    expected = str(sum(n**2 for n in range(children)))
    taken: list[float] = []
    for number in range(STARTS):
        url = f"sqlite:///{folder / f'cold-{number}.db'}"
        command = [sys.executable, str(EXAMPLE), str(children)]
        seconds, output = _timed(command, {**environment, "FANWOOD_DATABASE_URL": url})
        assert output.strip() == expected, f"{EXAMPLE.name} printed {output!r}, and not {expected}"
        taken.append(seconds)
    return statistics.median(taken)


def import_ms(environment: Mapping[str, str]) -> float:
    """A process that imports the package, less one that imports nothing. Medians of several, taken in turn."""
    bare: list[float] = []
    full: list[float] = []
    _timed([sys.executable, "-c", "import fanwood"], environment)  # byte code is written, files are in the cache
    for _ in range(STARTS):
        bare.append(_timed([sys.executable, "-c", "pass"], environment)[0])
        full.append(_timed([sys.executable, "-c", "import fanwood"], environment)[0])
    return (statistics.median(full) - statistics.median(bare)) * 1e3


def _timed(command: list[str], environment: Mapping[str, str]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    return time.perf_counter() - start, done.stdout
