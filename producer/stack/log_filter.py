"""Which lines of the logs are shown, of either kind of stack."""

from __future__ import annotations

import re
from collections.abc import Callable

TAIL_LINES = 20

Wanted = Callable[[str], bool]


def names_job(job: str | None) -> Wanted:
    """Does a line name the job? Every line does where ``job`` is None."""
    if job is None:
        return lambda _: True
    return re.compile(rf"(?<![\w.-]){re.escape(job)}(?![\w.-])").search  # type: ignore[return-value]
