"""The arguments that a source says, and the sources that do not say."""

from __future__ import annotations

import ast

import pytest

from shared.catalog.signatures import arguments_of

INIT = "    def __init__(self, a, b=2, *, c=3): ..."


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"class Own:\n{INIT}", ("a", "b", "c")),
        (f"from base import Base\nclass Own(Base):\n{INIT}", ("a", "b", "c")),
        ("class Own:\n    def __call__(self, images): ...", ()),
        ("class Own:\n    def __init__(self, p, /, *rest, c): ...", ("c",)),
        ("def Own(images): ...", ()),
        ("def Own(images, about, *, level=1): ...", ("about", "level")),
        # What only running it can tell.
        ("class Own(Base): ...", None),
        ("class Own(metaclass=Meta): ...", None),
        ("@dataclass\nclass Own:\n    level: int = 1", None),
        ("class Own:\n    def __init__(self, **others): ...", None),
        (f"class Own:\n    def __new__(cls, d): ...\n{INIT}", None),
        (f"class Own:\n    if fast:\n    {INIT}\n    else:\n    {INIT}", None),
        (f"class Own:\n    @wrapped\n{INIT}", None),
        ("class Own:\n    __init__ = made()", None),
        ("@wrapped\ndef Own(images): ...", None),
        (f"class Own:\n{INIT}\nOwn = wrapped(Own)", None),
        (f"class Own:\n{INIT}\nfrom other import *", None),
        (f"if fast:\n    class Own:\n    {INIT}", None),
        ("from other import Own", None),
        ("Own = lambda images: images", None),
        ("", None),
    ],
)
def test_arguments_are_told_only_where_the_source_says_them(
    source: str, expected: tuple[str, ...] | None
) -> None:
    assert arguments_of(ast.parse(source), "Own") == expected
