"""The models that a pipeline's analyses name."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from shared.analyses import NetworkAnalysis
from shared.catalog.catalog import Catalog, Entry
from shared.catalog.classes import class_model_name
from shared.catalog.documents import Document, Field, suggestion
from shared.catalog.files import Asked, PipelineFile, ShortFile
from shared.catalog.model_files import ClassModelFile, ModelFile
from shared.catalog.published import PublishedModel
from shared.catalog.releases import Models
from shared.catalog.sections import ClassReference, arguments_text
from shared.errors import sentences
from shared.fields import Name
from shared.views import View


@dataclass(frozen=True, slots=True)
class Reference:
    """A model of a pipeline.

    ``key``: its name there. ``place``: of the field that names it first. ``arguments``: of its
    class, as JSON.
    """

    key: str
    entry: Entry[ModelFile]
    place: Field
    arguments: str = "{}"

    @property
    def python_class(self) -> str | None:
        """``module:Class``; None for weights."""
        content = self.entry.content
        return content.python if isinstance(content, ClassModelFile) else None

    @property
    def version(self) -> str | None:
        """The sha256 after ``@``, where there is one."""
        return self.key.partition("@")[2] or None

    @property
    def sha256(self) -> str:
        """The version of the weights."""
        content = self.entry.content
        assert not isinstance(content, ClassModelFile)
        return self.version or content.sha256

    @property
    def published(self) -> PublishedModel | None:
        """The version, where the bucket was asked for it; None for what has a file."""
        content = self.entry.content
        return content if isinstance(content, PublishedModel) else None

    @property
    def file_view(self) -> View | None:
        """What the model takes by its file; None for a class that takes any view."""
        content = self.entry.content
        if isinstance(content, PublishedModel):
            return content.constants.view
        return content.said_view if isinstance(content, ClassModelFile) else content.taken_view


def references(
    entry: Entry[PipelineFile], catalog: Catalog, models: Models
) -> dict[str, Reference]:
    """The model of each analysis that has one, by the analysis's name.

    ``models``: asked for those that have no file. Raises UsageError with the pipeline's line, and
    the errors of ``models``.
    """
    found: dict[str, Reference] = {}
    kinds: dict[str, tuple[Reference, str]] = {}
    asked = {n: a for n, a in entry.content.asked().items() if issubclass(a.kind, NetworkAnalysis)}
    for name, one in asked.items():
        place = entry.content.place_of(name, "model")
        found[name] = reference = _reference(entry, one, place, catalog, models)
        kind = one.options["kind"]
        first, first_kind = kinds.setdefault(reference.key, (reference, kind))
        if (first.python_class, first.arguments) != (reference.python_class, reference.arguments):
            raise entry.document.error(
                place, f"another model is named '{reference.key}' here: give one a 'name:'"
            )
        if reference.python_class and first_kind != kind:
            raise entry.document.error(
                place,
                f"the class '{reference.key}' gives {first_kind} already, and a class gives one "
                "kind of answer: name another class",
            )
    _require_class(entry, found)
    return found


def _reference(
    entry: Entry[PipelineFile],
    asked: Asked,
    place: tuple[str, ...],
    catalog: Catalog,
    models: Models,
) -> Reference:
    document, model = entry.document, asked.model
    args = entry.content.args if isinstance(entry.content, ShortFile) else None
    if isinstance(model, ClassReference):
        name = model.name or class_model_name(model.python)
        if not _is_name(name):
            raise document.error(
                place, f"give it a 'name:', as '{name}' from its class cannot be one"
            )
        found: Entry[ModelFile] = Entry(name, ClassModelFile(python=model.python), document)
        return Reference(name, found, place, arguments_text(args or model.args))
    assert model is not None
    name = model.partition("@")[0]
    named: Entry[ModelFile] = (
        catalog.model(name)
        if name in catalog.model_names()
        else Entry(name, _in_bucket(document, model, place, catalog, models), document)
    )
    reference = Reference(model, named, place, arguments_text(args or {}))
    if reference.python_class:
        if reference.version:
            raise document.error(place, f"'{name}' is a Python class: leave '@...' out")
        return reference
    if args is not None:
        raise document.error(
            ("args",), f"is for Python classes, and '{name}' has weights: leave it out"
        )
    return reference


def _in_bucket(
    document: Document, model: str, place: Field, catalog: Catalog, models: Models
) -> PublishedModel:
    """The version of a model that has no file."""
    name, _, sha256 = model.partition("@")
    found = models.find(name, sha256 or None)
    if found is not None:
        return found
    names = models.names()
    if name in (names or ()):
        which = f"version {sha256[:12]}…" if sha256 else "current version"
        raise document.error(
            place,
            f"the bucket does not have the {which} of the model '{name}': see 'headrace models "
            "list'",
        )
    known = suggestion(name, sorted({*catalog.model_names(), *(names or ())}))
    do = ""
    if names is None:
        do = "If you added it, start the stack whose bucket has it: headrace up."
    elif not known.endswith("?"):
        do = f"To bring one of your own: headrace models add {name} FILE."
    raise document.error(place, sentences(f"there is no model '{name}'; {known}", do))


def _is_name(text: str) -> bool:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return False
    return True


def _require_class(entry: Entry[PipelineFile], found: dict[str, Reference]) -> None:
    if any(reference.python_class for reference in found.values()):
        return
    named = next((f"'{reference.entry.name}' has weights" for reference in found.values()), None)
    for field in ("files", "environment"):
        if getattr(entry.content, field):
            raise entry.document.error(
                (field,), f"is for Python classes, and {named or 'there is none'}: leave it out"
            )
