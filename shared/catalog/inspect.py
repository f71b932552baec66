"""What the command line shows of pipelines, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.catalog.catalog import Catalog, Entry
from shared.catalog.classes import class_folders, local_files
from shared.catalog.files import ClassModelFile, ModelFile, PipelineFile
from shared.catalog.packing import PackedCode, pack_class
from shared.catalog.reading import Reader
from shared.catalog.resolve import postprocess, preprocess, referenced_model
from shared.pipeline import Frozen


class PipelineSummary(Frozen):
    """One line of ``pipelines list``. ``model`` is a name, or ``module:Class``."""

    name: str
    model: str
    description: str


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


def show_pipeline(name_or_path: str, catalog: Catalog | None = None) -> dict[str, Any]:
    """A pipeline with all that follows from its model and from defaults, fit for JSON.

    Asks no store: whether the model has been pulled is not told. Raises UsageError, also where a
    class or a file of the pipeline's is missing.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline(name_or_path)
    model, code = _checked(entry, catalog)
    content = entry.content
    return {
        "name": entry.name,
        "path": str(entry.document.path),
        "description": content.description or "",
        "preprocess": preprocess(entry, model.content.image_pixels).model_dump(mode="json"),
        "model": _model_fields(model, content.model_version, code),
        "files": content.files,
        "environment": content.environment,
        "engine": content.engine,
        "precision": content.precision,
        "batch_seconds": content.batch_seconds,
        "postprocess": postprocess(entry, is_class=code is not None).model_dump(mode="json"),
    }


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


def _model_fields(
    model: Entry[ModelFile], version: str | None, code: PackedCode | None
) -> dict[str, Any]:
    if isinstance(model.content, ClassModelFile):
        assert code is not None
        return {
            "name": model.name,
            "python": model.content.python,
            "folder": str(code.folder),
            "modules": list(code.modules),
        }
    wanted = {"architecture", "mean", "std", "licence"}
    return {
        "name": model.name,
        "sha256": version or model.content.sha256,
        **model.content.model_dump(include=wanted),
    }
