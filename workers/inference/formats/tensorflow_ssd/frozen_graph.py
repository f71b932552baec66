"""TensorFlow's frozen graphs: nodes by name, read without TensorFlow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.inference.formats.tensorflow_ssd.wire import (
    Malformed,
    Value,
    fields,
    floats,
    integer,
    integers,
    message,
    text,
)

Array = npt.NDArray[Any]

# The largest detectors of TensorFlow's zoo have 400 MB and 10,000 nodes.
MAX_BYTES = 2**29
MAX_NODES = 50_000
_MAX_DIMENSIONS = 8
# A tensor may name one value for all of its entries: this bounds what such a file can claim.
_MAX_REPEATED = 2**16
# TensorFlow's numbers of the types that a frozen detector has.
_TYPES: dict[int, npt.DTypeLike] = {1: np.float32, 3: np.int32, 9: np.int64}


@dataclass(frozen=True)
class Node:
    """One operation. ``inputs``: names of nodes. Its attributes are parsed when asked for."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, memoryview] = field(repr=False)

    def integers(self, name: str, usual: tuple[int, ...] = ()) -> tuple[int, ...]:
        """A list of numbers."""
        found: list[int] = []
        for number, value in self._attribute(name, 1):
            if number == 3:
                found += integers(value)
        return tuple(found) or usual

    def number(self, name: str) -> float:
        """A float or a whole number. Raises Malformed where there is none."""
        for number, value in self._attribute(name):
            if number == 4 and len(data := floats(value)) == 1:
                return float(data[0])
            if number == 3:
                return integer(value)
        raise Malformed(f"'{self.name}' has no {name}")

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        return next((text(value) for number, value in self._attribute(name) if number == 2), "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The attribute of that name, as a placeholder has it."""
        return next(
            (_shape(value) for number, value in self._attribute("shape") if number == 7), ()
        )

    @cached_property
    def value(self) -> Array:
        """What a constant holds. Raises Malformed."""
        for number, value in self._attribute("value"):
            if number == 8:
                return _tensor(message(value), self.name)
        raise Malformed(f"the constant '{self.name}' has no value")

    def _attribute(self, name: str, within: int | None = None) -> list[tuple[int, Value]]:
        found = list(fields(self.attributes.get(name, memoryview(b""))))
        if within is None:
            return found
        lists = [message(value) for number, value in found if number == within]
        return [each for data in lists for each in fields(data)]


def read_nodes(path: Path) -> dict[str, Node]:
    """The nodes of a file. Raises Malformed, and OSError where it cannot be read."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Malformed(f"it has {size:,} bytes, and {MAX_BYTES:,} are the most")
    nodes: dict[str, Node] = {}
    for number, value in fields(memoryview(path.read_bytes())):
        if number != 1:  # the versions of TensorFlow, and functions
            continue
        node = _node(message(value))
        if node.name in nodes:
            raise Malformed(f"two nodes are named '{node.name[:100]}'")
        if len(nodes) == MAX_NODES:
            raise Malformed(f"it has more than {MAX_NODES:,} nodes")
        nodes[node.name] = node
    if not nodes:
        raise Malformed("it has no nodes")
    return nodes


def _node(data: memoryview) -> Node:
    name, op = "", ""
    inputs: list[str] = []
    attributes: dict[str, memoryview] = {}
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            op = text(value)
        elif number == 3:
            inputs.append(text(value))
        elif number == 5:
            entry = dict(fields(message(value)))
            attributes[text(entry.get(1, memoryview(b"")))] = message(entry.get(2, memoryview(b"")))
    # ``^name`` only orders, and ``name:0`` is the first result of a node.
    data_inputs = (each.partition(":")[0] for each in inputs if not each.startswith("^"))
    return Node(name, op, tuple(data_inputs), attributes)


def _shape(value: Value) -> tuple[int, ...]:
    """Sides of an array; -1 for one that may be anything."""
    sides = [
        dict(fields(message(side))).get(1, 0)
        for number, side in fields(message(value))
        if number == 2
    ]
    if len(sides) > _MAX_DIMENSIONS:
        raise Malformed(f"an array has more than {_MAX_DIMENSIONS} dimensions")
    return tuple(integer(side) for side in sides)


def _tensor(data: memoryview, name: str) -> Array:
    kind = 0
    shape: tuple[int, ...] = ()
    content: memoryview | None = None
    listed: list[Any] = []
    for number, value in fields(data):
        if number == 1:
            kind = integer(value)
        elif number == 2:
            shape = _shape(value)
        elif number == 4:
            content = message(value)
        elif number == 5:
            listed += floats(value).tolist()
        elif number in (7, 10):
            listed += integers(value)
    if kind not in _TYPES:
        raise Malformed(f"the constant '{name}' is of a type that no detector needs")
    dtype = np.dtype(_TYPES[kind])
    entries = math.prod(shape)
    if min(shape, default=0) < 0:
        raise Malformed(f"the constant '{name}' has a negative side")
    if content:
        if len(content) != entries * dtype.itemsize:
            raise Malformed(f"the constant '{name}' does not have the values that its shape needs")
        return np.frombuffer(content, dtype).reshape(shape)
    return _listed(listed or [0], dtype, entries, name).reshape(shape)


def _listed(values: list[Any], dtype: np.dtype[Any], entries: int, name: str) -> Array:
    """Values one by one; the last stands for all that are missing."""
    missing = entries - len(values)
    if missing < 0 or missing > _MAX_REPEATED:
        raise Malformed(f"the constant '{name}' does not have the values that its shape needs")
    try:
        found = np.array(values, dtype)
    except OverflowError as error:
        raise Malformed(f"the constant '{name}' has a number beyond its type") from error
    return np.concatenate([found, np.full(missing, found[-1], dtype)])
