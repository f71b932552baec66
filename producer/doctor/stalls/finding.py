"""The one form of everything that stands still."""

from __future__ import annotations

from dataclasses import dataclass


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
        return f"{self.detail} {self.hint}"


def described_worker(name: str) -> str:
    """``process@host:pid:nonce``, as a lease is named, for people."""
    place, pid, _ = name.rsplit(":", 2)
    return f"{place} (pid {pid})"
