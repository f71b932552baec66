"""Which of the stacks a process is about: this machine's, or the one in containers."""

from __future__ import annotations

import os

from shared.errors import UsageError

PROFILE_VARIABLE = "HEADRACE_PROFILE"


def uses_docker() -> bool:
    """Whether it is the one in containers. Raises UsageError."""
    profile = os.environ.get(PROFILE_VARIABLE) or "local"
    if profile not in ("local", "docker"):
        raise UsageError("bad_profile", f"There is no profile {profile!r}.", "local or docker.")
    return profile == "docker"
