"""From files to a pipeline by value, with nothing left to look up."""

from __future__ import annotations

from dataclasses import dataclass

from shared.analyses import NetworkAnalysis
from shared.catalog.asked import analysis
from shared.catalog.catalog import Catalog, Entry, constants, weights_model
from shared.catalog.classes import PackedClass, pack
from shared.catalog.files import PipelineFile, ShortFile
from shared.catalog.model_files import WeightsModelFile
from shared.catalog.published import ModelConstants, PublishedModel, published
from shared.catalog.references import Reference, references
from shared.catalog.releases import BucketModels, Models
from shared.errors import UsageError
from shared.model import Model
from shared.pipeline import Pipeline, PipelineFields, Preprocess
from shared.storage import Store


@dataclass(frozen=True, slots=True)
class Resolved:
    """A pipeline by value. ``packed`` is what its classes need, which is yet to be uploaded."""

    pipeline: Pipeline
    packed: tuple[PackedClass, ...] = ()


def resolve(
    name_or_path: str,
    models_bucket: str,
    store: Store,
    catalog: Catalog | None = None,
    models: Models | None = None,
) -> Resolved:
    """The pipeline by value, its models pinned to versions that are there, or to packed code.

    ``models``: asked for those that have no file, by default the bucket. Writes nothing. Raises
    UsageError where a file is wrong, a class is missing, or a version has not been pulled; and the
    store's errors.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline(name_or_path)
    named = references(entry, catalog, models or BucketModels(store, models_bucket))
    distinct = {reference.key: reference for reference in named.values()}
    classes = [reference for reference in distinct.values() if reference.python_class]
    packed = pack(classes, entry) if classes else {}
    versions = {
        key: _version(reference, models_bucket, store)
        for key, reference in distinct.items()
        if key not in packed
    }
    found = {
        key: _class_model(key, packed[key], entry)
        if key in packed
        else _network(key, versions[key], entry, named)
        for key in distinct
    }
    return Resolved(_pipeline(entry, named, found, versions), tuple(packed.values()))


def _pipeline(
    entry: Entry[PipelineFile],
    named: dict[str, Reference],
    models: dict[str, Model],
    versions: dict[str, PublishedModel],
) -> Pipeline:
    content = entry.content
    analyses = {}
    for name in content.asked():
        reference = named.get(name)
        version = versions.get(reference.key) if reference else None
        analyses[name] = analysis(entry, name, reference, version)
    is_short = isinstance(content, ShortFile) and content.gives == "classes"
    shared = content.model_dump(include=PipelineFields.model_fields.keys() - {"preprocess"})
    limits = content.preprocess.model_dump(include=set(Preprocess.model_fields))
    return Pipeline(
        **shared
        | {
            "name": entry.name,
            "form": "short" if is_short else "long",
            "preprocess": limits,
            "models": models,
            "analyses": analyses,
        }
    )


def _network(
    key: str, version: PublishedModel, entry: Entry[PipelineFile], named: dict[str, Reference]
) -> Model:
    """The model, with those of its outputs that the analyses read, in the order of its graph."""
    asked, read = entry.content.asked(), set[str]()
    for name in (name for name, reference in named.items() if reference.key == key):
        kind = asked[name].kind
        assert issubclass(kind, NetworkAnalysis)
        read.update(kind.reads)
    baked = version.constants
    return Model(
        name=version.name,
        sha256=version.sha256,
        architecture=baked.architecture,
        has_graph=version.has_graph,
        layout=version.layout,
        outputs=tuple(output for output in version.outputs if output in read),
        mean=baked.mean,
        std=baked.std,
    )


def _class_model(key: str, packed: PackedClass, entry: Entry[PipelineFile]) -> Model:
    return Model(
        name=key,
        sha256=packed.sha256,
        python_class=packed.python_class,
        code_sha256=packed.code.sha256,
        files=packed.files,
        environment=tuple(sorted(set(entry.content.environment))),
        arguments=packed.arguments,
    )


def _version(reference: Reference, models_bucket: str, store: Store) -> PublishedModel:
    """The version that is there; an unpinned one must be as the model's file says."""
    if reference.published is not None:
        return reference.published
    entry = weights_model(reference.entry)
    pinned, sha256 = reference.version, reference.sha256
    version = published(store, models_bucket, entry.name, sha256)
    if version is None and pinned:
        raise UsageError(
            "model_not_pulled",
            f"There is no version {sha256[:12]}… of the model '{entry.name}' in the bucket.",
            f"See 'headrace models list', or run 'headrace models push {entry.name} FILE'.",
        )
    if version is None:
        raise UsageError(
            "model_not_pulled",
            f"The model '{entry.name}' is not in the bucket '{models_bucket}' yet.",
            f"Run 'headrace models pull {entry.name}'.",
        )
    if not pinned:
        require_unchanged(entry, version.constants)
    return version


def require_unchanged(entry: Entry[WeightsModelFile], baked: ModelConstants) -> None:
    """Raise UsageError where a model's file was edited after its version was published."""
    wanted = constants(entry)
    for field in ModelConstants.model_fields:
        if getattr(wanted, field) != getattr(baked, field):
            name = field.removesuffix("_sha256")
            if name == "view" and entry.content.view is None:
                name = "image_pixels"
            raise entry.document.error(
                (name,),
                f"is not what was published with {entry.content.sha256[:12]}…, and a version "
                "never changes: put it back, or give the changed model a file and name of its own",
            )
