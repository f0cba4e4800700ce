"""What runs that were spawned in one call give to who waited for them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fanwood.errors import InputValidationError
from fanwood.sdk.declaring.outcomes import error_of, typed_output

if TYPE_CHECKING:
    from fanwood.engine.waits import Outputs
    from fanwood.sdk.children.planned import PlannedRuns


def results_of(collector: Outputs, planned: PlannedRuns, *, keep_errors: bool) -> list[Any]:
    """See `Spawner.results`."""
    if collector.first_failure is not None and not keep_errors:
        run = planned.at(collector.first_failure)
        raise error_of(collector.end(collector.first_failure, run.spec.name), run.id, run.spec.name)
    results = collector.values
    for start, end, spec in planned.parts():
        name, subject, decode = spec.name, f"the output of {spec.name}", spec.output.decode
        for number, ended in enumerate(islice(results, start, end), start):
            if type(ended) is str:
                try:
                    results[number] = decode(ended, subject)
                except InputValidationError:
                    results[number] = typed_output(ended, spec.output, name)
            else:
                results[number] = error_of(ended, planned.id(number), name)
    return results
