"""Messages that could never have been valid: each a valid one with one thing spoiled.

``CASES`` holds for every queue, ``CASES_OF`` for what one role consumes, ``IGNORED`` are headers
beside a valid signature that must change nothing.
"""

from typing import Any

from tests.support.malformed.boxes import OPTIONS
from tests.support.malformed.payload import BODY, SIGNATURE
from tests.support.malformed.roles import CASES_OF
from tests.support.malformed.schema import SCHEMA
from tests.support.malformed.spoiling import MISSING, SURROGATE, Case, Make, set_at
from tests.support.malformed.target import Target, envelope, signed, valid
from tests.support.malformed.wrapping import CONTENT, ENVELOPE, HEADERS

__all__ = [
    "CASES",
    "CASES_OF",
    "ENVELOPE",
    "IGNORED",
    "MISSING",
    "SCHEMA",
    "Case",
    "Make",
    "Target",
    "cases",
    "envelope",
    "set_at",
    "signed",
    "valid",
]

CASES: dict[str, Case] = ENVELOPE | HEADERS | CONTENT | BODY | SIGNATURE | SCHEMA | OPTIONS


def cases(role: str) -> dict[str, Case]:
    """Everything that the queue of ``role`` must stand."""
    return CASES | CASES_OF[role]


IGNORED: dict[str, Any] = {
    "eta": ["2999-01-01T00:00:00", "nonsense", 5, []],
    "expires": ["1999-01-01", "nonsense", -1, {}],
    "timelimit": [[1, 1], "x", [None], 5, [1e-9, 1e-9]],
    "retries": [10**9, "x", -1, None],
    "stamps": ["x", {"a": 1}, 5],
    "stamped_headers": ["x", [1]],
    "priority": [9, "x", None],
    "shadow": ["celery.chord", 5],
    "lang": ["js", None],
    "group": ["x", 5],
    "callbacks": [[1]],
    "replaced_task_nesting": ["x"],
    "redelivered": ["x"],
    "x-unheard-of": [SURROGATE, [[[[]]]]],
}
