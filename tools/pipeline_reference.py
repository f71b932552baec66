"""What may stand in a pipeline's file, from its types: the JSON Schema and tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from shared.analyses import Analysis, NetworkAnalysis
from shared.catalog.files import DEFAULT_KIND, FORMS, PIPELINE_FILE, SECTIONS, SHORT_FILES, LongFile
from shared.fields import FileDefault
from shared.views import VIEWS, View

_HEAD = "| field | type | default | meaning |\n|---|---|---|---|\n"
# Types in words, where what stands in a field has tables of its own.
_ELSEWHERE = {
    "view": "a view, as in `{kind: stretch, width: 64, height: 64}`",
    "kind": ", ".join(f"`{kind}`" for kind in SECTIONS),
    "gives": ", ".join(f"`{kind}`" for kind in SHORT_FILES),
}


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
    schema = TypeAdapter(PIPELINE_FILE).json_schema()
    for owner in _all_models(PIPELINE_FILE, set()):
        properties = schema["$defs"][owner.__name__]["properties"]
        for name, info in owner.model_fields.items():
            declared, field = properties[name], FileField(name, owner, info)
            if field.worked_out:
                declared.pop("default", None)
                declared["description"] += f" By default {field.worked_out}."
            if "$ref" in declared:  # a section: its fields have the defaults
                declared.pop("default", None)
    return schema


def table() -> str:
    """A table for each form, and for each kind of analysis and view."""
    every = {field.path for field in file_fields(LongFile)}
    short = file_fields(SHORT_FILES[DEFAULT_KIND])
    own = [f for f in short if f.path not in every and not f.path.startswith("postprocess.")]
    parts = [
        "### In both forms\n\n" + _rows(file_fields(LongFile)),
        "### In the short form\n\n" + _rows(own),
        "### In the long form\n\nAn analysis by a model also has `model`, `engine` and "
        "`precision`, as in the short form.\n\n" + _rows(_of_every_kind()),
    ]
    parts += [
        f"### `kind: {kind}`\n\n{_first_line(section)}\n\n" + _rows(options_of(section))
        for kind, section in SECTIONS.items()
    ]
    parts += [
        f"### `view: {{kind: {kind}}}`\n\n{_first_line(view)}\n\n" + _rows(options_of(view))
        for kind, view in VIEWS.items()
    ]
    return "\n".join(parts)


def file_fields(owner: type[BaseModel], above: str = "") -> Iterator[FileField]:
    """Every field that takes a value. A section is no row, but what stands in it is."""
    for name, info in owner.model_fields.items():
        if name == "analyses":
            continue
        sections = list(_models(info.annotation)) if name not in _ELSEWHERE else []
        if info.description:
            yield FileField(above + name, owner, info)
        elif not sections:
            raise ValueError(f"{owner.__name__}.{name} has no description")
        for section in sections:
            yield from file_fields(section, f"{above}{name}.")


def options_of(kind: type[BaseModel]) -> list[FileField]:
    """The fields of a kind of analysis or view that others have not."""
    others = (NetworkAnalysis if issubclass(kind, Analysis) else View).model_fields.keys()
    return [FileField(n, kind, info) for n, info in kind.model_fields.items() if n not in others]


def _of_every_kind() -> list[FileField]:
    section = SECTIONS[DEFAULT_KIND]
    names = (name for name in section.model_fields if name in Analysis.model_fields)
    return [FileField(f"analyses.NAME.{n}", section, section.model_fields[n]) for n in names]


def _rows(fields: Iterable[FileField]) -> str:
    rows = []
    for field in fields:
        declared = field.owner.model_json_schema()["properties"][field.name]
        kind = _ELSEWHERE.get(field.name) or _type(declared, FORMS.get(field.name))
        rows.append(f"| `{field.path}` | {kind} | {_default(field)} | {field.info.description} |\n")
    return _HEAD + "".join(rows)


def _first_line(kind: type[BaseModel]) -> str:
    first = (kind.__doc__ or "").split("\n\n")[0]
    return " ".join(first.replace("``", "`").split())


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _all_models(annotation: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    for model in _models(annotation):
        if model not in seen:
            seen.add(model)
            yield model
            for info in model.model_fields.values():
                yield from _all_models(info.annotation, seen)


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
    if kind == "object":
        return f"fields{_bounds(declared, 'Properties')}"
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
