"""What may stand in a pipeline's file, from its model: the JSON Schema and a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.catalog.files import FORMS, PipelineFile
from shared.fields import FileDefault


@dataclass(frozen=True, slots=True)
class FileField:
    """One field: ``path`` as in ``preprocess.crop_pixels``, and the model that declares it."""

    path: str
    owner: type[BaseModel]
    info: FieldInfo

    @property
    def name(self) -> str:
        """Its last name."""
        return self.path.rpartition(".")[2]

    @property
    def worked_out(self) -> str | None:
        """Its default in words, where it has none that is the same for all files."""
        return next((m.words for m in self.info.metadata if isinstance(m, FileDefault)), None)


def file_schema() -> dict[str, Any]:
    """The JSON Schema of a pipeline's file."""
    schema = PipelineFile.model_json_schema()
    for field in file_fields():
        if field.worked_out:
            own = field.owner is PipelineFile
            inside = schema if own else schema["$defs"][field.owner.__name__]
            declared = inside["properties"][field.name]
            declared.pop("default", None)
            declared["description"] += f" By default {field.worked_out}."
    for declared in schema["properties"].values():
        if "$ref" in declared:  # a section: its fields have the defaults
            declared.pop("default", None)
    return schema


def table() -> str:
    """A row for each field."""
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in file_fields():
        declared = field.owner.model_json_schema()["properties"][field.name]
        kind = _type(declared, FORMS.get(field.name))
        rows.append(f"| `{field.path}` | {kind} | {_default(field)} | {field.info.description} |")
    return "\n".join(rows) + "\n"


def file_fields(owner: type[BaseModel] = PipelineFile, above: str = "") -> Iterator[FileField]:
    """Every field that takes a value. A section is no row, but what stands in it is."""
    for name, info in owner.model_fields.items():
        sections = list(_models(info.annotation))
        if info.description:
            yield FileField(above + name, owner, info)
        elif not sections:
            raise ValueError(f"{owner.__name__}.{name} has no description")
        for section in sections:
            yield from file_fields(section, f"{above}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _default(field: FileField) -> str:
    if field.worked_out:
        return field.worked_out
    if field.info.is_required():
        return "required"
    value = field.info.get_default(call_default_factory=True)
    if value in (None, [], (), {}):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{json.dumps(value).strip(chr(34))}`"


def _type(declared: dict[str, Any], form: str | None) -> str:
    """A type of JSON Schema in words. ``form``: what its text looks like."""
    if "anyOf" in declared:
        kinds = [one for one in declared["anyOf"] if one.get("type") != "null"]
        return " or ".join(_type(one, form) for one in kinds)
    kind = declared.get("type")
    if "enum" in declared:
        *others, last = (f"`{value}`" for value in declared["enum"])
        return f"{', '.join(others)} or {last}" if others else last
    if kind == "boolean":
        return "`true` or `false`"
    if kind == "array":
        return f"list{_bounds(declared, 'Items')}: {_type(declared['items'], form)}"
    if kind in ("integer", "number"):
        return f"{kind}{_bounds(declared, 'imum')}"
    return form if form is not None else f"text{_bounds(declared, 'Length')}"


def _bounds(declared: dict[str, Any], end: str) -> str:
    """Such as ``, 1 to 100``; empty where there are none."""
    low, high = declared.get(f"min{end}"), declared.get(f"max{end}")
    unit = " characters" if end == "Length" else ""
    if high is None:
        return "" if low is None else f", at least {low:,}{unit}"
    return f", at most {high:,}{unit}" if low is None else f", {low:,} to {high:,}{unit}"
