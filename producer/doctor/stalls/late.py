"""Late messages that become more."""

from __future__ import annotations

from producer.doctor.stalls.finding import Finding
from producer.stack.roles import PRODUCER

# A worker that dies leaves as many late messages as it held; more are a fault that goes on.
LATE_MESSAGES = 5


def late_messages(before: int, after: int) -> Finding | None:
    """A finding where many came too late between two looks at their number."""
    if after - before <= LATE_MESSAGES:
        return None
    return Finding(
        f"{after - before} messages came too late between two looks.",
        "Chunks are sent again and again: see 'headrace logs producer', and whether all "
        "workers are at this broker.",
        PRODUCER.name,
        is_warning=True,
    )
