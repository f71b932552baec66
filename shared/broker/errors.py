"""What may be waited for at the broker and the ledger, and how to say it in one line."""

from __future__ import annotations

import redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from shared.errors import TransientError

# Any other answer than these is a defect of ours, and passes.
FAILURES = (redis.ConnectionError, redis.TimeoutError, ReadOnlyError, OutOfMemoryError)

_USUAL_HINT = "Is the stack up? See 'headrace ps'."
_REFUSED = (
    "it refuses this user with this password",
    "Give the process the secret that the broker was given, and start it again.",
)
# Kombu wraps what redis-py raises, so the words are what both have.
_SIGNS = {
    "CERTIFICATE_VERIFY_FAILED": ("its certificate is not trusted: see ca_file", _USUAL_HINT),
    "invalid username-password pair": _REFUSED,
    "Authentication required": _REFUSED,
    "used memory > 'maxmemory'": (
        "its memory is full",
        "Raise its maxmemory, or find what fills it: see 'headrace dead-letters list'.",
    ),
}


def why(error: Exception) -> str:
    """In a few words why a connection failed."""
    return _reason_and_hint(error)[0]


def no_answer(server: str, error: Exception) -> TransientError:
    """The error for ``server`` (broker, ledger, staging), with the code ``SERVER_unavailable``."""
    reason, hint = _reason_and_hint(error)
    return TransientError(
        f"{server}_unavailable", f"The {server} does not answer ({reason}).", hint
    )


def _reason_and_hint(error: Exception) -> tuple[str, str]:
    text = str(error)
    found = (meaning for sign, meaning in _SIGNS.items() if sign in text)
    return next(found, (type(error).__name__, _USUAL_HINT))
