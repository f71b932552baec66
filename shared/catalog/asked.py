"""An analysis of a file as a value: its view, and the options that follow from its model.

Sizes that the short form leaves out: ``crop_pixels`` is the model's, or 224 where it takes any;
``resize_shorter_pixels`` is 8/7 of ``crop_pixels``, ImageNet's usual 256 for 224. A view of any
kind has to have the size that the model takes.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from shared.analyses import Analysis, NetworkAnalysis
from shared.analyses.base import WrongOption
from shared.catalog.catalog import Entry
from shared.catalog.files import Asked, PipelineFile, ShortFile
from shared.catalog.model_files import USUAL_PIXELS, usual_crop
from shared.catalog.published import PublishedModel
from shared.catalog.references import Reference
from shared.views import View
from shared.views.crop import Crop


def analysis(
    entry: Entry[PipelineFile],
    name: str,
    reference: Reference | None,
    version: PublishedModel | None = None,
) -> Analysis:
    """The analysis of that name. Raises UsageError with the pipeline's line.

    ``reference``: its model. ``version``: of a network, where that is known.
    """
    content, document = entry.content, entry.document
    asked = content.asked()[name]
    taken, length = reference.file_view if reference else None, None
    if version is not None:
        taken, length = version.constants.view, _length(entry, name, asked, version)
    view = _short_view(entry, taken) if isinstance(content, ShortFile) else None
    options: dict[str, Any] = {"view": view or _view(entry, name, asked, reference, taken)}
    if reference is not None:
        options["model"] = reference.key
    try:
        found = asked.kind.model_validate(asked.options | options)
        if reference is not None and isinstance(found, NetworkAnalysis):
            return found.for_model(length, is_class=reference.python_class is not None)
    except WrongOption as error:
        raise document.error(content.place_of(name, error.field), str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]  # of options that do not go together
        place = content.place_of(name, str(first["loc"][0])) if first["loc"] else ()
        raise document.error(place, first["msg"].removeprefix("Value error, ")) from error
    return found


def _length(entry: Entry[PipelineFile], name: str, asked: Asked, version: PublishedModel) -> int:
    """How many numbers the network gives for an image, of what the analysis reads first."""
    assert issubclass(asked.kind, NetworkAnalysis)
    kind, output = asked.options["kind"], asked.kind.main_output()
    if output in version.outputs:
        return version.outputs[output]
    problem = (
        f"the network '{version.name}' gives {' and '.join(version.outputs)}, and {kind} needs its "
        f"{output}: name another model"
        if output
        else f"'{version.name}' has weights, which cannot give {kind}: name a Python class, as in "
        "'model: {python: module:Class}'"
    )
    raise entry.document.error(entry.content.place_of(name, "model"), problem)


def _short_view(entry: Entry[PipelineFile], taken: View | None) -> View:
    preprocess, document = entry.content.preprocess, entry.document
    said = [n for n in Crop.model_fields if n != "kind" and getattr(preprocess, n) is not None]
    if taken is not None and not isinstance(taken, Crop):
        if said:
            raise document.error(
                ("preprocess", said[0]), f"the model takes {taken.kind}, not a crop: leave it out"
            )
        return taken
    crop, resize = (getattr(preprocess, name) for name in ("crop_pixels", "resize_shorter_pixels"))
    if taken is not None and crop not in (None, taken.crop_pixels):
        raise document.error(
            ("preprocess", "crop_pixels"), f"the model takes {taken.crop_pixels}, not {crop}"
        )
    usual = taken or usual_crop(crop or USUAL_PIXELS)
    if resize is not None and resize < usual.crop_pixels:
        raise document.error(
            ("preprocess", "resize_shorter_pixels"),
            f"{resize} is below crop_pixels, which is {usual.crop_pixels} here",
        )
    return usual if resize is None else usual.model_copy(update={"resize_shorter_pixels": resize})


def _view(
    entry: Entry[PipelineFile],
    name: str,
    asked: Asked,
    reference: Reference | None,
    taken: View | None,
) -> View:
    place = entry.content.place_of(name, "view")
    view: View | None = asked.options.get("view") or asked.kind.own_view or taken
    if view is None and reference is None:
        raise entry.document.error(place, "is missing: say how the image is looked at")
    view = view or usual_crop(USUAL_PIXELS)
    if taken is not None and view.canvas != taken.canvas:
        sizes = [" × ".join(map(str, one.canvas)) for one in (taken, view)]
        raise entry.document.error(
            place, f"the model takes {sizes[0]} pixels, and this view has {sizes[1]}"
        )
    return view
