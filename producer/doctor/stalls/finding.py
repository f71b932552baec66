"""What is found to stand still, and the finding for late messages that become more."""

from __future__ import annotations

from dataclasses import dataclass

from producer.stack.roles import PRODUCER
from shared.errors import sentences

# A worker that dies leaves as many late messages as it held; more are a fault that goes on.
LATE_MESSAGES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands still.

    ``detail`` says what happened, ``hint`` what to do.
    ``role`` is the role that it concerns; ``worker`` the name of one worker's lease, or empty.
    ``is_warning``: it may yet be merely slow.
    """

    detail: str
    hint: str
    role: str
    worker: str = ""
    is_warning: bool = False

    def __str__(self) -> str:
        return sentences(self.detail, self.hint)


def described_worker(name: str) -> str:
    """``process@host:pid:nonce``, as a lease is named, for people."""
    place, pid, _ = name.rsplit(":", 2)
    return f"{place} (pid {pid})"


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
