"""Reading a YAML file so that whatever is wrong in it is reported with its line and its field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, Tag, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from shared.errors import UsageError

MAX_FILE_BYTES = 2**18
_TEXT = "tag:yaml.org,2002:str"
# The fields whose value says which others there are.
_CHOOSERS = ("kind", "gives")
_MAX_SHOWN_CHARACTERS = 100
_KEY = "[key]"  # how pydantic says that the name of a field is wrong, and not its value

Field = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file says, and the line (from 1) on which it says each field."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Field, int]

    def parse(self, shape: Any, forms: Mapping[str, str]) -> Any:
        """The values as ``shape``, a pydantic model or a union of some. Raises UsageError.

        Types are strict: ``'160'`` is no number.
        ``forms`` says in words what the text of a field has to look like. Tags of unions start
        with ``<``, so that they are told from fields.
        """
        try:
            return TypeAdapter(shape).validate_python(self.values, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False)
            # A misspelt field is also a missing one: say the first.
            first = min(found, key=lambda e: (e["type"] == "missing", self._line(_field(e))))
            raise self.error(_field(first), _problem(first, shape, forms)) from error

    def error(
        self, field: Field, problem: str, code: str = "bad_yaml", hint: str = ""
    ) -> UsageError:
        """``FILE:LINE: field: problem``."""
        found = _error(self.path, self._line(field), field, problem)
        return UsageError(code, found.message, hint)

    def _line(self, field: Field) -> int:
        """The line of the field, or of the nearest one around it that is written out."""
        while field and field not in self.lines:
            field = field[:-1]
        return self.lines[field]


def read_document(path: Path) -> Document:
    """Read a YAML mapping. Raises UsageError; aliases and repeated fields are refused."""
    text = _read(path)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise _error(path, 1, (), "fields are expected, as in 'model: mobilenet_v2'")
        lines = dict(_fields(node, (), path))
        return Document(path, loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        raise _error(path, mark.line + 1 if mark else 1, (), f"not YAML: {said}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _error(path, line, (), "not YAML: a character that is not allowed") from error
    except (ValueError, RecursionError) as error:  # of a date that is none, or of [[[[[...
        raise _error(path, 1, (), f"not YAML that we read: {error}") from error


def one_line(text: str) -> str:
    """Text from a file for a message: what does not print is escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def suggestion(wrong: str, known: Sequence[str]) -> str:
    """``did you mean X?``, or what there is."""
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"there {'are' if len(known) > 1 else 'is'} {', '.join(known) or 'none'}"


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them can stand for more than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)


def _fields(node: yaml.Node, field: Field, path: Path) -> Iterator[tuple[Field, int]]:
    """Every field below ``node``, itself included, with its line."""
    yield field, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _fields(value, (*field, index), path)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag != _TEXT:
                raise _error(path, line, field, "a field's name must be text; quote it")
            inner = (*field, key.value)
            if key.value in seen:
                raise _error(path, line, inner, f"is on line {seen[key.value]} already")
            seen[key.value] = line
            yield from _fields(value, inner, path)
            yield inner, line


def _read(path: Path) -> str:
    hint = "Check the path."
    try:
        if path.exists() and not path.is_file():
            raise UsageError("bad_yaml", f"{path} is not a file.", hint)
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        reason = getattr(error, "strerror", None) or error
        raise UsageError("bad_yaml", f"Cannot read {path}: {reason}.", hint) from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError("bad_yaml", f"{path} is over {MAX_FILE_BYTES} bytes.", hint)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(path, line, (), "not UTF-8 text") from error


def _error(path: Path, line: int, field: Field, problem: str) -> UsageError:
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in field)
    where = f"{path}:{line}: " + (f"{one_line(dotted[1:])}: " if dotted else "")
    end = "" if problem.endswith((".", "?")) else "."
    return UsageError("bad_yaml", f"{where}{one_line(problem)}{end}")


def _field(error: ErrorDetails) -> Field:
    field = tuple(part for part in error["loc"] if not str(part).startswith("<") and part != _KEY)
    return (*field, chooser) if (chooser := _chooser(error)) else field


def _chooser(error: ErrorDetails) -> str | None:
    """The field whose value chooses no member of a union."""
    if error["type"] != "union_tag_invalid":
        return None
    tag = error["ctx"]["tag"]
    return next((name for name in _CHOOSERS if f"<{error['input'].get(name)}>" == tag), None)


def _problem(error: ErrorDetails, shape: Any, forms: Mapping[str, str]) -> str:
    field, kind = _field(error), error["type"]
    name = str(field[-1]) if field else ""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"unknown field; {suggestion(name, _known(shape, error['loc'][:-1]))}"
    if kind == "union_tag_invalid":
        known = re.findall(r"<(\w+)>", error["ctx"]["expected_tags"])
        said = error["ctx"]["tag"][1:-1][:_MAX_SHOWN_CHARACTERS]
        return f"there is no '{said}'; {suggestion(said, known)}"
    if kind == "union_tag_not_found" and isinstance(error["input"], dict):
        return "needs a kind, as in 'kind: NAME'"
    if kind == "too_short" and not error["ctx"]["actual_length"]:
        return "at least one is needed"
    if kind in ("model_type", "model_attributes_type", "dict_type", "union_tag_not_found"):
        return "fields are expected here, as in 'name: value'"
    if error["loc"][-1:] == (_KEY,):
        name = f"{field[-2]}[key]"
    if kind in ("string_pattern_mismatch", "string_type") and name in forms:
        quotes = "" if isinstance(error["input"], str) else ", in quotes"
        return f"'{error['input']}' must be {forms[name]}{quotes}"
    message = error["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _known(shape: Any, place: Field) -> list[str]:
    """The names of the fields that may stand at a place, as pydantic names it."""
    inside = [shape]
    for part in place:
        inside = [inner for annotation in inside for inner in _at(annotation, part)]
    models = [model for annotation in inside for model in _models(annotation)]
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _at(annotation: Any, part: str | int) -> Iterator[Any]:
    """What may stand in one part of a type: a field, an entry, or the member of a union."""
    arguments, is_tag = get_args(annotation), str(part).startswith("<")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if part in annotation.model_fields:
            yield annotation.model_fields[str(part)].annotation
    elif get_origin(annotation) is Annotated:
        tags = [f.tag for f in arguments[1:] if isinstance(f, Tag)]
        if is_tag and part in tags:
            yield arguments[0]
        elif not tags:
            yield from _at(arguments[0], part)
    elif get_origin(annotation) in (dict, list):
        yield arguments[-1]
    else:  # a union
        for member in arguments:
            yield from _at(member, part)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic models that stand in a type itself."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (dict, list):
        for argument in get_args(annotation):
            yield from _models(argument)
