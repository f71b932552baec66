"""Coverage-guided search: what leads to a line, from another, for the first time is gone on from.

So is what is refused for a new reason, for most of the schema is checked by a library that is not
Python. Hypothesis, beside it, draws each case by itself.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import re
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from tests.support.malformed import MISSING, Target, envelope, set_at, signed
from tests.support.message_judge import paths

ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, float("nan"), float("inf")),
    *("", "\ud800", "x" * 1025, "\0", "..", "/", "a\nb", [], {}, [[]], [None], {"a": {}}),
]
ODD_BYTES = [b"", b"\0", b"\xff", b'"', b"{", b"]", b",", b":", b"\\u", b"1e999", b"-", b"null"]
MAX_CHANGES = 3

Feature = Hashable
Run = Callable[[bytes], Hashable]
Change = Callable[[random.Random, bytes], bytes]


class Broken(AssertionError):
    """An input on which ``run`` raised."""

    def __init__(self, item: bytes) -> None:
        super().__init__(f"raised on {item!r}")


@dataclass(slots=True)
class Search:
    """``run`` says in what way an input ended; ``files`` are those whose lines are followed."""

    run: Run
    change: Change
    files: frozenset[str]
    corpus: list[bytes]
    seen: set[Feature] = field(default_factory=set)
    executions: int = 0

    def __post_init__(self) -> None:
        for item in self.corpus:
            self.seen |= self._features(item)

    def go_on(self, chance: random.Random, *, executions: int) -> None:
        """Try so many inputs more. Raises Broken."""
        for _ in range(executions):
            self._step(chance)

    def _step(self, chance: random.Random) -> None:
        item = chance.choice(self.corpus)
        for _ in range(chance.randint(1, MAX_CHANGES)):
            item = self.change(chance, item)
        found = self._features(item)
        if not found <= self.seen:
            self.seen |= found
            self.corpus.append(item)

    def _features(self, item: bytes) -> set[Feature]:
        self.executions += 1
        edges: set[Feature] = set()
        try:
            with _followed(edges, self.files):
                end = self.run(item)
        except Exception as error:
            raise Broken(item) from error
        return edges | {end}


@contextmanager
def _followed(edges: set[Feature], files: frozenset[str]) -> Iterator[None]:
    """Add each step from line to line within ``files`` to ``edges``."""
    last: dict[CodeType, int] = {}

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            code = frame.f_code
            edges.add((code, last.get(code), frame.f_lineno))
            last[code] = frame.f_lineno
        return on_line

    def on_call(frame: FrameType, _event: str, _: Any) -> Any:
        return on_line if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def reason_of(problem: Exception | None) -> str:
    """In what way a message was refused, without what is its own: numbers and quotations."""
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "#", str(problem))[:80]


def changed_bytes(chance: random.Random, item: bytes) -> bytes:
    """Some bytes overwritten, put in, or cut out."""
    first = chance.randint(0, len(item))
    end = min(len(item), first + chance.choice((0, 1, 1, 2, 8, 64)))
    new = chance.choice([*ODD_BYTES, chance.randbytes(1), chance.randbytes(end - first)])
    return item[:first] + new + item[end:]


def changed_message(target: Target) -> Change:
    """A change at any depth of a message for ``target``, which is signed again where it was."""

    def change(chance: random.Random, item: bytes) -> bytes:
        depth = chance.choice(("bytes", "envelope", "body", *("message", "answers") * 3))
        try:
            return _changed_at(depth, chance, item)
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ):
            return changed_bytes(chance, item)  # it is no message to that depth any more

    def _changed_at(depth: str, chance: random.Random, item: bytes) -> bytes:
        if depth == "bytes":
            return changed_bytes(chance, item)
        whole = json.loads(item)
        if depth == "envelope":
            return json.dumps(_changed(chance, whole)).encode()
        body = json.loads(base64.b64decode(whole["body"]))
        if depth == "body":
            text = json.dumps(_changed(chance, body)).encode()
            return json.dumps(envelope(target, text, whole["headers"]["id"])).encode()
        fields = json.loads(body[0][0])
        if depth == "answers":
            answers = changed_bytes(chance, base64.b64decode(fields["answers"]))
            fields["answers"] = base64.b64encode(answers).decode()
        else:
            fields = _changed(chance, fields)
        return json.dumps(signed(target, json.dumps(fields))).encode()

    return change


def _changed(chance: random.Random, whole: Any) -> Any:
    """``whole`` with one place given something odd, something of another place, or nothing."""
    whole = copy.deepcopy(whole)
    places = paths(whole)
    path = chance.choice(places)
    value = _at(whole, path)
    way = chance.choice(("odd", "odd", "other", "gone", "more", "near"))
    if way == "odd":
        value = copy.deepcopy(chance.choice(ODD))
    elif way == "other":
        value = copy.deepcopy(_at(whole, chance.choice(places)))
    elif way == "gone":
        value = MISSING
    elif way == "near":
        value = _near(chance, value)
    elif isinstance(inner := _at(whole, path[:-1]), list):
        inner.extend(copy.deepcopy(value) for _ in range(chance.choice((1, 2, 600))))
    else:
        inner[f"{path[-1]}{chance.choice(ODD)}"[:40]] = copy.deepcopy(value)
    return set_at(whole, path, value)


def _at(whole: Any, path: tuple[str | int, ...]) -> Any:
    for name in path:
        whole = whole[name]
    return whole


def _near(chance: random.Random, value: Any) -> Any:
    """A little more or less of the same."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return chance.choice((value + 1, value - 1, value * 2, -value, value + 0.5))
    if isinstance(value, str):
        return changed_bytes(chance, value.encode("utf-8", "replace")).decode("utf-8", "replace")
    return [value]
