"""A message and its hint are two sentences, whatever the message ends with."""

from __future__ import annotations

import pytest

from producer.cli.output import print_error
from shared.errors import HeadraceError

HINT = "Choose another."


@pytest.mark.parametrize(
    ("message", "end"),
    [
        ("There is classify, embed", "."),
        ("No decoder reads 'its header'", "."),
        ("Cannot read (it is empty)", "."),
        ("It gives 3 of 4 ", "."),
        ("It is gone.", ""),
        ("Did you mean embed?", ""),
        ("It says:", ""),
        ("It begins with abc…", ""),
        ("It says 'No.'", ""),
        ('It says "Why?"', ""),
        ("It is gone (for good.)", ""),
    ],
)
def test_a_message_ends_before_its_hint(
    message: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = HeadraceError("code", message, HINT)
    assert str(error) == f"{message.rstrip()}{end} {HINT}"
    print_error(error, as_json=False)
    assert capsys.readouterr().err == f"headrace: error: {error}\n"


@pytest.mark.parametrize(("message", "hint"), [("It is gone", ""), ("", HINT), ("", "")])
def test_one_of_them_alone_stays_as_it_is(message: str, hint: str) -> None:
    assert str(HeadraceError("code", message, hint)) == (message or hint)
