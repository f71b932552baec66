"""The pipelines and models that there are: YAML files in ``config/``, found by their names."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.analyses import ANALYSES, NetworkAnalysis
from shared.catalog.documents import Document, one_line, read_document, suggestion
from shared.catalog.files import FORMS, PIPELINE_FILE, PipelineFile, models_by_name, refuse_mixed
from shared.catalog.model_files import MODEL_FILE, ModelFile, WeightsModelFile
from shared.catalog.published import ModelConstants
from shared.errors import UsageError
from shared.fields import Name
from shared.paths import expanded
from shared.settings import PROJECT_ROOT

CONFIG = PROJECT_ROOT / "config"
SUFFIX = ".yaml"
_MAX_LABELS_BYTES = 2**22

Content = TypeVar("Content", bound=ModelFile | PipelineFile, covariant=True)


@dataclass(frozen=True, slots=True)
class Entry(Generic[Content]):
    """One file: its name, what it says, and where it says it."""

    name: str
    content: Content
    document: Document


class Catalog:
    """The files below one folder. Methods raise UsageError for what is missing or wrong."""

    def __init__(self, folder: Path = CONFIG) -> None:
        self._pipelines = folder / "pipelines"
        self._models = folder / "models"

    def pipeline_names(self) -> list[str]:
        """Every pipeline that has a file, sorted."""
        return _names(self._pipelines)

    def model_names(self) -> list[str]:
        """Every model that has a file, sorted."""
        return _names(self._models)

    @staticmethod
    def is_path(name_or_path: str) -> bool:
        """Is it a pipeline's file, and not a name?"""
        return "/" in name_or_path or name_or_path.endswith((SUFFIX, ".yml"))

    def pipeline(self, name_or_path: str) -> Entry[PipelineFile]:
        """A pipeline by name, or from a file where there is a slash or a ``.yaml`` in it."""
        if self.is_path(name_or_path):
            return self.pipeline_file(expanded(name_or_path))
        _require("pipeline", name_or_path, self.pipeline_names())
        entry = self.pipeline_file(self._pipelines / f"{name_or_path}{SUFFIX}")
        if entry.name != name_or_path:
            raise entry.document.error(("name",), f"must be '{name_or_path}', as the file's")
        return entry

    def pipeline_file(self, path: Path) -> Entry[PipelineFile]:
        """A pipeline from a file, which names it unless it says a name."""
        document = read_document(path)
        refuse_mixed(document)
        self._require_classes(document)
        content: PipelineFile = document.parse(PIPELINE_FILE, FORMS)
        return Entry(content.name or _name_of(path, document), content, document)

    def _require_classes(self, document: Document) -> None:
        """Raise UsageError where weights are to give what only a class can.

        It comes first: no option of such an analysis would help.
        """
        for place, kind, model in models_by_name(document):
            analysis, name = ANALYSES.get(kind), model.partition("@")[0]
            if analysis is None or not issubclass(analysis, NetworkAnalysis) or analysis.reads:
                continue
            if name in self.model_names() and isinstance(
                self.model(name).content, WeightsModelFile
            ):
                raise document.error(
                    place,
                    f"'{name}' has weights, which cannot give {kind}: name a Python class, as in "
                    "'model: {python: module:Class}'",
                )

    def model(self, name: str) -> Entry[ModelFile]:
        """A model by name."""
        _require("model", name, self.model_names())
        path = self._models / f"{name}{SUFFIX}"
        document = read_document(path)
        content: ModelFile = document.parse(MODEL_FILE, FORMS)
        return Entry(_name_of(path, document), content, document)


def weights_model(entry: Entry[ModelFile]) -> Entry[WeightsModelFile]:
    """The same entry, of a model that has weights. Raises UsageError for a Python class."""
    content = entry.content
    if isinstance(content, WeightsModelFile):
        return Entry(entry.name, content, entry.document)
    raise UsageError(
        "no_weights",
        f"The model '{entry.name}' is a Python class, which has no weights to bring.",
        "Its code is packed at each 'headrace enqueue'.",
    )


def labels(entry: Entry[WeightsModelFile]) -> bytes | None:
    """The labels file, one class a line; None where the model names none. Raises UsageError."""
    if entry.content.labels is None:
        return None
    path = entry.document.path.parent / entry.content.labels
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LABELS_BYTES + 1)
        lines = data.decode().rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise entry.document.error(("labels",), f"cannot read {path}: {reason}") from error
    if len(data) > _MAX_LABELS_BYTES:
        raise entry.document.error(("labels",), f"{path} is over {_MAX_LABELS_BYTES} bytes")
    if not all(line.strip() for line in lines):
        raise entry.document.error(("labels",), f"{path} has an empty line; one class a line")
    return data


def constants(entry: Entry[WeightsModelFile]) -> ModelConstants:
    """What a version made from this file has baked in, beside its weights."""
    content, found = entry.content, labels(entry)
    return ModelConstants.model_validate(
        {
            **content.model_dump(include={"format", "architecture", "mean", "std"}),
            "view": content.taken_view,
            "labels_sha256": hashlib.sha256(found).hexdigest() if found is not None else None,
        }
    )


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))


def _require(kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        file = _file_named(name) if kind == "pipeline" else None
        said = f"did you mean {file}?" if file else suggestion(name, known)
        raise UsageError(
            f"no_such_{kind}",
            f"There is no {kind} '{one_line(name)}': {said}",
            f"See 'headrace {kind}s list'.",
        )


def _file_named(name: str) -> str | None:
    """The pipeline's file in the current folder that a name without its ending may mean."""
    file = f"./{name}{SUFFIX}"
    return one_line(file) if os.path.isfile(file) else None  # noqa: PTH113 - any text may be asked for


def _name_of(path: Path, document: Document) -> str:
    try:
        return TypeAdapter(Name).validate_python(path.stem)
    except ValidationError as error:
        raise document.error(
            ("name",), f"the file's name, '{path.stem}', must be {FORMS['name']}"
        ) from error
