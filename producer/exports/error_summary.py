"""A job's errors, counted by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import ITEM_ERROR_ADVICE, ItemErrorCode


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """One error code of a job, with an example and what to do about it."""

    code: str
    count: int
    example_key: str
    example_message: str
    advice: str


def error_summary(tables: Iterable[pa.Table]) -> list[ErrorSummary]:
    """Counts by error code, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for table in tables:
        failed = table.filter(pc.equal(table["status"], "failed"))
        codes, names, messages = (
            failed[name].to_pylist() for name in ("error_code", "key", "error_message")
        )
        counts.update(codes)
        for code, key, message in zip(codes, names, messages, strict=True):
            examples.setdefault(code, (key, message or ""))
    return [
        ErrorSummary(code, count, *examples[code], _advice(code))
        for code, count in counts.most_common()
    ]


def _advice(code: str) -> str:
    known = code in ItemErrorCode.__members__.values()  # rows may come from a newer version
    return ITEM_ERROR_ADVICE[ItemErrorCode(code)] if known else ""
