"""Lengths of time, and what the commands that take them refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest

from producer.models import parse_age
from shared.durations import duration
from shared.errors import UsageError


@pytest.mark.parametrize("text", ["90s", "30m", "12h", "7d", "0d", "9999d"])
def test_durations(text: str) -> None:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    expected = timedelta(**{units[text[-1]]: int(text[:-1])})
    assert duration(text) == parse_age(text) == expected


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5d", "7 d", "7w", "99999d", "7d ", "٣d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--older-than cannot be"):
        parse_age(text)
