"""The metadata of a graph's file: the names of classes and the size, as Ultralytics writes them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import onnx

from shared.limits import MAX_LABEL_CHARACTERS
from shared.placement import Size
from workers.inference.graphs.refusals import refused

# Of the text of a thousand long names; more is not looked at.
_MAX_CHARACTERS = 1_000_000
_TASKS = ("detect", "classify")


@dataclass(frozen=True, slots=True)
class Metadata:
    """``is_scaled``: its pixels are 0..1, as those of all networks that have such metadata."""

    labels: tuple[str, ...] | None = None
    canvas: Size | None = None
    task: str | None = None

    @property
    def is_scaled(self) -> bool:
        return self.task is not None


def read_metadata(model: onnx.ModelProto) -> Metadata:
    """The metadata of a file. Raises PermanentError for a task that no analysis is for."""
    said = {each.key: each.value for each in model.metadata_props}
    task = said.get("task")
    if task is None:
        return Metadata()
    if task not in _TASKS:
        raise refused(
            f"The graph's file says that its task is '{task[:40]}', and only networks that detect "
            "or classify are read.",
            "Write a class that runs it.",
        )
    return Metadata(_labels(said.get("names", "")), _canvas(said.get("imgsz", "")), task)


def _labels(text: str) -> tuple[str, ...] | None:
    """The names of the classes, from the text of a Python dictionary; None where it is none."""
    names = _literal(text)
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or set(names) != set(range(len(names))) or not names:
        return None
    labels = tuple(str(names[number]).strip() for number in range(len(names)))
    if all(0 < len(label) <= MAX_LABEL_CHARACTERS for label in labels):
        return labels
    return None


def _canvas(text: str) -> Size | None:
    sides = _literal(text)
    match sides:
        case [int(height), int(width)] if height > 0 and width > 0:
            return width, height
        case int(side) if side > 0:
            return side, side
    return None


def _literal(text: str) -> object:
    if len(text) > _MAX_CHARACTERS:
        return None
    try:
        found: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return found
