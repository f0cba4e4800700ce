"""The way that a failure came up a tree, as its message tells it: `boom [in leaf, run ...] [in parent, run ...]`.

Where that is long its ends are told, and how many lie between them: a failure that climbs a thousand levels would
else be 50,000 characters long, in each of a thousand runs.
"""

from __future__ import annotations

import re

END = 10
"""So many at each end of a way are told."""

_STEP = re.compile(r" \[(?:in [^\[\]]{1,255}, run [0-9a-f-]{36}|through ([0-9]{1,9}) more)\]$")
_LONGEST = 320
"""Characters of a step, at most."""


def with_step(message: str, task: str, run_id: str) -> str:
    """The message of a failure that has come through that run as well."""
    step = f" [in {task}, run {run_id}]"
    if message.count(" [in ") < 2 * END:
        return message + step
    rest, steps, between = message, list[str](), 0
    while (found := _STEP.search(rest, max(0, len(rest) - _LONGEST))) is not None:
        if found[1] is None:
            steps.append(found[0])
        elif len(steps) == END:
            between = int(found[1])
        else:
            break  # it is somebody's own text
        rest = rest[: found.start()]
    if len(steps) < 2 * END:
        return message + step
    steps.reverse()
    told = "".join(steps[:END]), "".join([*steps[END:], step][-END:])
    return f"{rest}{told[0]} [through {between + len(steps) + 1 - 2 * END} more]{told[1]}"
