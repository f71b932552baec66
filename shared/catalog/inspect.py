"""What the command line shows of pipelines, as plain data."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict

from shared.catalog.catalog import Catalog, Entry
from shared.catalog.classes import class_folders, local_files
from shared.catalog.files import ClassModelFile, ModelFile, PipelineFile
from shared.catalog.packing import PackedCode, pack_class
from shared.catalog.reading import Reader
from shared.catalog.resolve import postprocess, preprocess, referenced_model
from shared.fields import Frozen, Name
from shared.pipeline import PipelineFields


class PipelineSummary(Frozen):
    """One line of ``pipelines list``. ``model`` is a name, or ``module:Class``."""

    name: str
    model: str
    description: str


class ModelView(Frozen):
    """The model: with ``python`` a class, else weights of a version.

    ``modules`` are the files of the class's code, by paths relative to ``folder``.
    """

    name: str
    python: str | None = None
    folder: str | None = None
    modules: list[str] | None = None
    sha256: str | None = None
    architecture: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    licence: str | None = None


class PipelineView(PipelineFields):
    """A pipeline with all that follows from its model and from defaults."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    name: Name
    path: str
    description: str
    model: ModelView
    files: list[str]
    environment: list[str]


def list_pipelines(catalog: Catalog | None = None) -> list[PipelineSummary]:
    """Every pipeline in ``config/``. Raises UsageError for a file that is wrong."""
    catalog = catalog or Catalog()
    entries = [catalog.pipeline(name) for name in catalog.pipeline_names()]
    return [
        PipelineSummary(
            name=e.name, model=_model_word(e.content), description=e.content.description or ""
        )
        for e in entries
    ]


def show_pipeline(name_or_path: str, catalog: Catalog | None = None) -> PipelineView:
    """A pipeline with all that follows from its model and from defaults.

    Asks no store: whether the model has been pulled is not told. Raises UsageError, also where a
    class or a file of the pipeline's is missing.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline(name_or_path)
    model, code = _checked(entry, catalog)
    return PipelineView(
        **entry.content.model_dump(exclude={"model"})
        | {
            "name": entry.name,
            "path": str(entry.document.path),
            "description": entry.content.description or "",
            "preprocess": preprocess(entry, model.content.image_pixels),
            "model": _model_view(model, entry.content.model_version, code),
            "postprocess": postprocess(entry, is_class=code is not None),
        }
    )


def validate_file(path: Path, catalog: Catalog | None = None) -> PipelineFile:
    """Check a pipeline's file, its model, its class and its files. Asks no store.

    Raises UsageError.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline_file(path)
    model, _ = _checked(entry, catalog)
    preprocess(entry, model.content.image_pixels)
    return entry.content


def _checked(
    entry: Entry[PipelineFile], catalog: Catalog
) -> tuple[Entry[ModelFile], PackedCode | None]:
    """The model, and the code where it is a class; large files are looked at and not read."""
    model = referenced_model(entry, catalog)
    if not isinstance(model.content, ClassModelFile):
        return model, None
    reader = Reader()
    code = pack_class(model.content.python, class_folders(entry.document.path), reader)
    reader.require_unchanged()
    local_files(entry, code)
    return model, code


def _model_word(content: PipelineFile) -> str:
    return content.model if isinstance(content.model, str) else content.model.python


def _model_view(model: Entry[ModelFile], version: str | None, code: PackedCode | None) -> ModelView:
    if isinstance(model.content, ClassModelFile):
        assert code is not None
        return ModelView(
            name=model.name,
            python=model.content.python,
            folder=str(code.folder),
            modules=list(code.modules),
        )
    return ModelView(
        name=model.name,
        sha256=version or model.content.sha256,
        architecture=model.content.architecture,
        mean=model.content.mean,
        std=model.content.std,
        licence=model.content.licence,
    )
