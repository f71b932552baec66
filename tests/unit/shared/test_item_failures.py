"""The reason in a failed row: one printable line that fits, whatever was raised."""

from __future__ import annotations

import pytest

from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.limits import MAX_ERROR_MESSAGE_CHARACTERS

CODE = ItemErrorCode.MODEL_ERROR


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("It is damaged.", "It is damaged."),
        ("  two\n\tlines \r\n", "two lines"),
        ("a\x00b\x1b[31mred", "a b [31mred"),
        ("half a pair: \ud800", "half a pair:"),
        ("turned \u202eround", "turned round"),
        ("", ""),
        ("Größe: 3 µm, 😀", "Größe: 3 µm, 😀"),
    ],
)
def test_any_text_becomes_one_printable_line(text: str, message: str) -> None:
    failure = ItemFailure.of(CODE, text)
    assert (failure.error_code, failure.error_message) == (CODE, message)
    assert ItemFailure.model_validate_json(failure.model_dump_json()) == failure


def test_a_long_text_is_cut() -> None:
    message = ItemFailure.of(CODE, "é " * 10**5).error_message
    assert len(message) == MAX_ERROR_MESSAGE_CHARACTERS
