"""What all stores say of hedges."""

from __future__ import annotations

from fanwood.model.commands import Failure
from fanwood.store.failures import encode_failure

NOT_NEEDED = encode_failure(Failure("cancelled", message="the run that it was to help has ended"))
"""What is said of a hedge whose first has ended. (A test knows the place in SQL.)"""
OVERTAKEN = "was overtaken: its hedge completed"
"""... and to what is below a first whose hedge was quicker."""
