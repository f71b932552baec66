"""How many files a process of the stack may have open."""

from __future__ import annotations

import resource

from shared.errors import HeadraceError

# What supervisord insists on. Idle, SeaweedFS has 100 open, a role 20, and Valkey 54.
OPEN_FILES = 1024


def allow_open_files() -> None:
    """Raise this process's limit to ``OPEN_FILES``, for itself and for what it starts.

    Raises HeadraceError where that may not be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _unlimited_or(soft) >= OPEN_FILES:
        return
    try:
        ceiling = hard if _unlimited_or(hard) >= OPEN_FILES else OPEN_FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, ceiling))
    except (ValueError, OSError) as error:
        raise HeadraceError(
            "too_few_files",
            f"A process may open {hard} files here, and the stack needs {OPEN_FILES}.",
            f"Open another shell, type 'ulimit -n {OPEN_FILES}' there, and run the command again.",
        ) from error


def _unlimited_or(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit
