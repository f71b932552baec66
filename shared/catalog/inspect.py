"""What the command line shows of pipelines, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from shared.analyses import Analysis
from shared.catalog.asked import analysis
from shared.catalog.catalog import Catalog, Entry
from shared.catalog.classes import local_files, pack_codes
from shared.catalog.files import PipelineFile, ShortFile
from shared.catalog.model_files import ClassModelFile
from shared.catalog.packing import PackedCode
from shared.catalog.published import PublishedModel
from shared.catalog.reading import Reader
from shared.catalog.references import Reference, references
from shared.catalog.releases import Models, NoModels
from shared.catalog.sections import ClassReference
from shared.fields import FileDefault, Frozen, Name
from shared.pipeline import PipelineFields, Preprocess, view_of
from shared.views import View
from shared.views.crop import Crop


class PipelineSummary(Frozen):
    """One line of ``pipelines list``.

    ``model``: names, or ``module:Class``, joined by commas. ``analyses``: the names of the columns.
    """

    name: str
    model: str
    description: str
    analyses: list[str]


class ModelView(Frozen):
    """A model: with ``python`` a class, else weights of a version.

    ``modules`` are the files of the class's code, by paths relative to ``folder``; ``args`` is what
    it is constructed with, as JSON.
    """

    name: str
    python: str | None = None
    folder: str | None = None
    modules: list[str] | None = None
    args: str | None = None
    sha256: str | None = None
    architecture: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    licence: str | None = None


class _PipelineView(PipelineFields):
    """What is shown of a pipeline in either form."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    name: Name
    path: str
    description: str
    files: list[str]
    environment: list[str]


class SizedPreprocessView(Preprocess):
    """Preprocessing with the sizes of a square crop; null where the model takes another view."""

    resize_shorter_pixels: int | None = None
    crop_pixels: int | None = None


class ShortPipelineView(_PipelineView):
    """A pipeline of one analysis. ``postprocess``: its options."""

    preprocess: SizedPreprocessView
    model: ModelView
    gives: str
    view: dict[str, Any]
    engine: str
    precision: str
    postprocess: dict[str, Any]


class LongPipelineView(_PipelineView):
    """A pipeline of several. Options that only the published model says are null."""

    models: dict[str, ModelView]
    analyses: dict[str, dict[str, Any]] = Field(min_length=1)


PipelineView = ShortPipelineView | LongPipelineView


def list_pipelines(catalog: Catalog | None = None) -> list[PipelineSummary]:
    """Every pipeline in ``config/``. Raises UsageError for a file that is wrong."""
    catalog = catalog or Catalog()
    entries = [catalog.pipeline(name) for name in catalog.pipeline_names()]
    return [
        PipelineSummary(
            name=e.name,
            model=_model_words(e.content),
            description=e.content.description or "",
            analyses=list(e.content.asked()),
        )
        for e in entries
    ]


def show_pipeline(
    name_or_path: str, catalog: Catalog | None = None, models: Models | None = None
) -> PipelineView:
    """A pipeline with all that follows from its models' files and from defaults.

    ``models``: asked for those that have no file; no other store is asked, so whether a model has
    been pulled is not told. Raises UsageError, also where a class or a file of the pipeline's is
    missing.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline(name_or_path)
    content = entry.content
    named, codes, analyses = _checked(entry, catalog, models or NoModels())
    used = {each.key: _model_view(each, codes.get(each.key)) for each in named.values()}
    fields = content.model_dump(include=set(_PipelineView.model_fields)) | {
        "name": entry.name,
        "path": str(entry.document.path),
        "description": content.description or "",
    }
    if not isinstance(content, ShortFile):
        shown = {name: _options(each) for name, each in analyses.items()}
        return LongPipelineView(**fields, models=used, analyses=shown)
    (one,) = analyses.values()
    view, options = view_of(one), _options(one)
    return ShortPipelineView(
        **fields | {"preprocess": fields["preprocess"] | _sizes(view)},
        model=next(iter(used.values())),
        gives=content.gives,
        view=view.model_dump(),
        engine=options["engine"],
        precision=options["precision"],
        postprocess={each: options[each] for each in type(content.postprocess).model_fields},
    )


def validate_file(
    path: Path, catalog: Catalog | None = None, models: Models | None = None
) -> PipelineFile:
    """Check a pipeline's file, its models, its classes and its files.

    ``models``: asked for those that have no file; no other store is asked. Raises UsageError.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline_file(path)
    _checked(entry, catalog, models or NoModels())
    return entry.content


def _checked(
    entry: Entry[PipelineFile], catalog: Catalog, models: Models
) -> tuple[dict[str, Reference], dict[str, PackedCode], dict[str, Analysis]]:
    """The models and analyses by the analyses' names, and code by the models' keys.

    Large files are looked at and not read.
    """
    named, reader = references(entry, catalog, models), Reader()
    distinct = {each.key: each for each in reversed(named.values())}
    classes = [each for each in distinct.values() if each.python_class]
    codes = pack_codes(classes, entry, reader)
    reader.require_unchanged()
    if classes:
        local_files(entry, codes.values())
    analyses: dict[str, Analysis] = {}
    for name in entry.content.asked():
        reference = named.get(name)
        version = reference.published if reference else None
        analyses[name] = analysis(entry, name, reference, version)
    return named, codes, analyses


def _model_words(content: PipelineFile) -> str:
    models = [asked.model for asked in content.asked().values() if asked.model is not None]
    words = [each.python if isinstance(each, ClassReference) else each for each in models]
    return ", ".join(dict.fromkeys(words))


def _options(one: Analysis) -> dict[str, Any]:
    """The options, with None for what only the published model says."""
    unknown = {
        name
        for name, info in type(one).model_fields.items()
        if name not in one.model_fields_set
        and any(isinstance(each, FileDefault) for each in info.metadata)
    }
    return one.model_dump() | dict.fromkeys(unknown)


def _sizes(view: View) -> dict[str, int]:
    return view.model_dump(exclude={"kind"}) if isinstance(view, Crop) else {}


def _model_view(reference: Reference, code: PackedCode | None) -> ModelView:
    content, name = reference.entry.content, reference.entry.name
    if isinstance(content, PublishedModel):
        return ModelView(
            name=name,
            sha256=content.sha256,
            architecture=content.constants.architecture,
            mean=list(content.constants.mean),
            std=list(content.constants.std),
            licence=content.licence,
        )
    if isinstance(content, ClassModelFile):
        assert code is not None
        return ModelView(
            name=name,
            python=content.python,
            folder=str(code.folder),
            modules=list(code.modules),
            args=None if reference.arguments == "{}" else reference.arguments,
        )
    return ModelView(
        name=name,
        sha256=reference.version or content.sha256,
        architecture=content.architecture,
        mean=content.mean,
        std=content.std,
        licence=content.licence,
    )
