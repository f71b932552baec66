"""What spoils one thing of a valid message, and what such a case is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.malformed.target import Target, valid

MISSING = object()
SURROGATE = "\ud800"

Make = Callable[[Target], bytes]


@dataclass(frozen=True)
class Case:
    """``layer``: where the message must be found wrong."""

    layer: str
    make: Make


def set_at(whole: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """``whole`` with ``value`` at ``path``, or with nothing there."""
    *parents, last = path
    inner = whole
    for name in parents:
        inner = inner[name]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    return whole


def spoiled(*path: str, value: Any) -> Make:
    return lambda target: json.dumps(set_at(valid(target), path, value)).encode()


def named(prefix: str, layer: str, makes: dict[str, Make]) -> dict[str, Case]:
    return {f"{prefix}: {name}": Case(layer, make) for name, make in makes.items()}


def values(layer: str, path: tuple[str, ...], *instead: Any) -> dict[str, Case]:
    """The field at ``path`` with each of ``instead``."""
    return {
        f"{layer}: {'.'.join(path)} {show(value)}": Case(layer, spoiled(*path, value=value))
        for value in instead
    }


def show(value: Any) -> str:
    return "missing" if value is MISSING else ascii(value)[:30]
