"""From files to a pipeline by value, with nothing left to look up.

Sizes that a pipeline leaves out: ``crop_pixels`` is the model's ``image_pixels``, or 224 where it
has none; ``resize_shorter_pixels`` is 8/7 of ``crop_pixels``, ImageNet's usual 256 for 224. A
model that has ``image_pixels`` takes no other size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import ValidationError

from shared.catalog.catalog import Catalog, Entry, constants, weights_model
from shared.catalog.classes import PackedClass, class_model_name, pack
from shared.catalog.documents import suggestion
from shared.catalog.files import (
    ClassModelFile,
    ClassReference,
    ModelFile,
    PipelineFile,
    WeightsModelFile,
)
from shared.catalog.published import ModelConstants, published
from shared.errors import UsageError
from shared.fields import MAX_SIDE_PIXELS
from shared.model import Model
from shared.pipeline import Pipeline, Postprocess, Preprocess
from shared.settings import Settings
from shared.storage import Store

_DEFAULTS = Preprocess()


@dataclass(frozen=True, slots=True)
class Resolved:
    """A pipeline by value. ``packed`` is what its class needs, which is yet to be uploaded."""

    pipeline: Pipeline
    packed: PackedClass | None = None


def resolve(
    name_or_path: str, settings: Settings, store: Store, catalog: Catalog | None = None
) -> Resolved:
    """The pipeline by value, its model pinned to a version that is there, or to packed code.

    Writes nothing. Raises UsageError where a file is wrong, a class is missing, or the version has
    not been pulled; and the store's errors.
    """
    catalog = catalog or Catalog()
    entry = catalog.pipeline(name_or_path)
    found = referenced_model(entry, catalog)
    if isinstance(found.content, ClassModelFile):
        packed = pack(found.content.python, entry)
        model = _class_model(found.name, packed, entry)
        return Resolved(_pipeline(entry, model, found.content.image_pixels), packed)
    pinned = entry.content.model_version
    sha256 = pinned or found.content.sha256
    baked = _published_constants(weights_model(found), sha256, bool(pinned), settings, store)
    model = Model(
        name=found.name,
        sha256=sha256,
        architecture=baked.architecture,
        mean=baked.mean,
        std=baked.std,
    )
    return Resolved(_pipeline(entry, model, baked.image_pixels))


def referenced_model(entry: Entry[PipelineFile], catalog: Catalog) -> Entry[ModelFile]:
    """The model of a pipeline: the one it names, or its class as if it had a file.

    Raises UsageError with the pipeline's line.
    """
    reference, document = entry.content.model, entry.document
    if isinstance(reference, ClassReference):
        name = reference.name or class_model_name(reference.python)
        return Entry(name, ClassModelFile(python=reference.python), document)
    name = reference.partition("@")[0]
    if name not in catalog.model_names():
        known = suggestion(name, catalog.model_names())
        raise document.error(("model",), f"there is no model '{name}'; {known}")
    found = catalog.model(name)
    if entry.content.model_version and isinstance(found.content, ClassModelFile):
        raise document.error(("model",), f"'{name}' is a Python class: leave '@...' out")
    if isinstance(found.content, WeightsModelFile):
        for field in ("files", "environment"):
            if getattr(entry.content, field):
                raise document.error(
                    (field,), f"is for Python classes, and '{name}' has weights: leave it out"
                )
    return found


def preprocess(entry: Entry[PipelineFile], image_pixels: int | None) -> Preprocess:
    """The pipeline's preprocessing for a model that takes ``image_pixels`` (None: any)."""
    document = entry.document
    given = entry.content.preprocess.model_dump(exclude_unset=True)
    crop = given.get("crop_pixels") or image_pixels or _DEFAULTS.crop_pixels
    if image_pixels is not None and crop != image_pixels:
        raise document.error(
            ("preprocess", "crop_pixels"), f"the model takes {image_pixels}, not {crop}"
        )
    usual = min(MAX_SIDE_PIXELS, math.ceil(crop * 8 / 7))
    resize = given.get("resize_shorter_pixels") or usual
    if resize < crop:
        raise document.error(
            ("preprocess", "resize_shorter_pixels"),
            f"{resize} is below crop_pixels, which is {crop} here",
        )
    return Preprocess(**given | {"crop_pixels": crop, "resize_shorter_pixels": resize})


def postprocess(entry: Entry[PipelineFile], *, is_class: bool) -> Postprocess:
    """The pipeline's postprocessing. A network gives logits; a class gives what it means."""
    given = entry.content.postprocess.model_dump(exclude_unset=True)
    return Postprocess(**{"softmax": not is_class} | given)


def _pipeline(entry: Entry[PipelineFile], model: Model, image_pixels: int | None) -> Pipeline:
    return Pipeline(
        **entry.content.model_dump(include=Pipeline.model_fields.keys() - {"model"})
        | {
            "name": entry.name,
            "preprocess": preprocess(entry, image_pixels),
            "model": model,
            "postprocess": postprocess(entry, is_class=model.python_class is not None),
        }
    )


def _class_model(name: str, packed: PackedClass, entry: Entry[PipelineFile]) -> Model:
    try:
        return Model(
            name=name,
            sha256=packed.sha256,
            python_class=packed.python_class,
            code_sha256=packed.code.sha256,
            files=packed.files,
            environment=tuple(sorted(set(entry.content.environment))),
        )
    except ValidationError as error:
        raise entry.document.error(
            ("model",), f"give it a 'name:', as '{name}' from its class cannot be one"
        ) from error


def _published_constants(
    entry: Entry[WeightsModelFile], sha256: str, pinned: bool, settings: Settings, store: Store
) -> ModelConstants:
    """What the version has baked in; an unpinned one must be as the model's file says."""
    version = published(store, settings.models_bucket, entry.name, sha256)
    if version is None and pinned:
        raise UsageError(
            "model_not_pulled",
            f"There is no version {sha256[:12]}… of the model '{entry.name}' in the bucket.",
            f"See 'headrace models list', or run 'headrace models push {entry.name} FILE'.",
        )
    if version is None:
        raise UsageError(
            "model_not_pulled",
            f"The model '{entry.name}' is not in the bucket '{settings.models_bucket}' yet.",
            f"Run 'headrace models pull {entry.name}'.",
        )
    if not pinned:
        require_unchanged(entry, version.constants)
    return version.constants


def require_unchanged(entry: Entry[WeightsModelFile], baked: ModelConstants) -> None:
    """Raise UsageError where a model's file was edited after its version was published."""
    wanted = constants(entry)
    for field in ModelConstants.model_fields:
        if getattr(wanted, field) != getattr(baked, field):
            name = field.removesuffix("_sha256")
            raise entry.document.error(
                (name,),
                f"is not what was published with {entry.content.sha256[:12]}…, and a version "
                "never changes: put it back, or give the changed model a file and name of its own",
            )
