"""A user's own ONNX graph, of one file: a classifier, or a detector of a layout that is known."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.catalog.model_files import USUAL_PIXELS, usual_crop
from shared.errors import PermanentError, UsageError
from shared.model import LayoutName
from shared.placement import Size
from shared.views import View
from shared.views.stretch import Stretch
from workers.inference.calibration import calibration_images
from workers.inference.engines.exported import provenance
from workers.inference.engines.port import Images
from workers.inference.graphs.classifiers import classifier_outputs
from workers.inference.graphs.detectors import (
    HAS_CORNERS,
    SCALED,
    Known,
    layouts_by_shape,
    order_is_torchvisions,
    usual_pixels,
    usual_view,
)
from workers.inference.graphs.images import (
    AS_THEY_ARE,
    ImageInput,
    Pixels,
    as_taken,
    fitted,
    image_input,
    shown,
)
from workers.inference.graphs.meanings import (
    softmax_widths,
    with_labels_from_zero,
    without_background,
    without_second_softmax,
)
from workers.inference.graphs.metadata import Metadata, read_metadata
from workers.inference.graphs.outputs import as_given, found_outputs, without_softmax
from workers.inference.graphs.proving import Wrapping, write_proven
from workers.inference.graphs.reading import read_graph
from workers.inference.graphs.refusals import refused
from workers.inference.graphs.running import Runnable, one_by_one
from workers.inference.graphs.wrapping import Output

# Of photos that networks for ImageNet are trained with.
_IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLASSIFIED: Size = (USUAL_PIXELS, USUAL_PIXELS)
_DETECTED: Size = (640, 640)
# How a file begins: the mark of the first field, which is the version of the format.
_VERSION_FIELD, _VERSIONS = 0x08, 16
# Enough to see one image's numbers in another's answer.
_TRIED_IMAGES = 3


class Onnx:
    """Reads graphs of the ONNX format."""

    options = frozenset({"layout", "channels"})

    def is_format_of(self, weights: Path) -> bool:
        """See ``Format``. A graph's file begins with the version of the format."""
        with weights.open("rb") as file:
            first = file.read(9)
        is_graph = len(first) > 1 and first[0] == _VERSION_FIELD and 0 < first[1] < _VERSIONS
        # safetensors begin with the length of their JSON, which may be any bytes.
        is_graph = is_graph and first[8:] != b"{"
        return weights.suffix.lower() == ".onnx" or is_graph

    def export(self, request: ExportRequest) -> ExportedModel:
        """See ``Format``."""
        model = read_graph(request.weights)
        with tempfile.TemporaryDirectory(dir=request.output.parent) as folder:
            return _Export(request, model, Path(folder)).exported()


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What the graph is. ``assumed``: what its file does not say, in sentences."""

    outputs: list[Output]
    canvas: Size
    pixels: Pixels
    view: View
    classes: int | None
    layout: LayoutName | None
    assumed: tuple[str, ...]
    names_background: bool = False


class _Export:
    """The export of one file. ``folder``: for temporary files."""

    def __init__(self, request: ExportRequest, model: onnx.ModelProto, folder: Path) -> None:
        self._request, self._model, self._folder = request, model, folder
        self._taken: ImageInput = image_input(model.graph)
        self._metadata: Metadata = read_metadata(model)
        self._asked = request.view.canvas if request.view else request.canvas
        self._check_pixels()
        self._runs: dict[tuple[Size, Pixels], list[dict[str, npt.NDArray[Any]]]] = {}

    def exported(self) -> ExportedModel:
        plain = self._folder / "plain.onnx"
        plain.write_bytes(self._model.SerializeToString())
        graph = Runnable(plain)
        meaning = self._classifier(graph) or self._detector(graph)
        pixels, names = meaning.pixels, [output.name for output in meaning.outputs]
        said = provenance(self._request.sha256, pixels.mean, pixels.std, names)
        images = _images(meaning.canvas)
        plain.write_bytes(self._model.SerializeToString())
        wrapping = Wrapping(self._taken, meaning.canvas, pixels, tuple(meaning.outputs), said)
        fixed = write_proven(plain, wrapping, images, self._request.output)
        alone = ("It takes one image at a time, since a batch would change its answers.",)
        return ExportedModel(
            format="onnx",
            layout=meaning.layout,
            view=meaning.view,
            mean=pixels.mean,
            std=pixels.std,
            channels=pixels.channels,
            outputs={out.name: math.prod(out.given_shape) for out in meaning.outputs},
            classes=meaning.classes,
            labels=self._metadata.labels,
            names_background=meaning.names_background,
            inputs=(self._taken.described,),
            assumed=(*meaning.assumed, *(alone if fixed else ())),
        )

    def _classifier(self, graph: Runnable) -> _Meaning | None:
        """None where the graph is none."""
        if self._request.layout is not None:
            return None
        canvas = fitted(self._asked, self._taken, self._metadata.canvas or _CLASSIFIED)
        usual = SCALED if self._metadata.is_scaled else _IMAGENET
        pixels = self._pixels(usual)
        try:
            found = self._outputs(graph, canvas, pixels)
        except PermanentError:
            if self._asked is not None or None not in self._taken.canvas:
                raise
            return None  # a detector may not take so few pixels
        outputs = classifier_outputs(found, self._request.labels)
        if outputs is None:
            return None
        width, height = canvas
        square = width == height
        view: View = usual_crop(width) if square else Stretch(width=width, height=height)
        assumed = [self._said_of(pixels)]
        if without_softmax(self._model.graph, outputs[0].source):
            assumed.append("Its last softmax is left out, since an analysis of classes has one.")
        else:
            runs = self._run(graph, canvas, pixels)
            scores = as_given(outputs[0], [run[outputs[0].source] for run in runs])
            outputs, said = without_second_softmax(outputs, scores)
            assumed += [said] if said else []
        view, classes = self._request.view or view, outputs[0].given_shape[0]
        return _Meaning(outputs, canvas, pixels, view, classes, None, tuple(assumed))

    def _detector(self, graph: Runnable) -> _Meaning:
        canvas = fitted(self._asked, self._taken, self._metadata.canvas or _DETECTED)
        outputs = self._outputs(graph, canvas, self._pixels(SCALED))
        shapes = ", ".join(shown(output.shape) for output in outputs)
        possible = layouts_by_shape(outputs, canvas, self._request.layout)
        runs = {known.name: self._arrays(graph, canvas, known) for known in possible}
        fitting = [known for known in possible if known.layout.fits(runs[known.name], canvas)]
        if len(fitting) > 1:
            names = " and ".join(known.name for known in fitting)
            raise refused(
                f"Its outputs, of shapes {shapes}, may be those of {names}.",
                "Say which of them with --layout.",
            )
        if not fitting:
            layout = self._request.layout
            known = f"the layout {layout}" if layout else "a classifier or detector that is known"
            raise refused(
                f"Its outputs, of shapes {shapes}, are not those of {known}.",
                "Write a class that runs it.",
            )
        (found,) = fitting
        return self._detected(found, runs[found.name], canvas, order_is_torchvisions(outputs))

    def _detected(
        self, found: Known, arrays: dict[str, npt.NDArray[Any]], canvas: Size, is_torchvisions: bool
    ) -> _Meaning:
        """``arrays``: of a run, by the layout's names."""
        name, outputs, given = found.name, found.outputs, self._labels()
        classes, names_background = found.layout.classes(arrays), False
        pixels = self._pixels(usual_pixels(name))
        assumed = [f"Its outputs are those of {name}.", self._said_of(pixels)]
        if "box_labels" in arrays:
            image = as_taken(_images(canvas)[:1], self._taken, pixels)
            widths = softmax_widths(self._model, self._folder / "softmaxes.onnx", image)
            has_background = is_torchvisions or (given is not None and given + 1 in widths)
            outputs, from_one = with_labels_from_zero(outputs, arrays, given, has_background)
            names_background = from_one and given in widths and given + 1 not in widths
            after = " after the background's" if names_background else ""
            assumed.append(
                f"Its labels begin with {int(from_one)}, which has the first name{after}."
            )
        else:
            outputs, place = without_background(outputs, arrays)
            if classes is not None and place is not None:
                classes -= 1
                names_background = place == 0 and given == classes + 1
                column = "first" if place == 0 else "last"
                assumed.append(f"The {column} of its scores is that of the background.")
        if name in HAS_CORNERS:
            assumed.append("Its boxes are x1, y1, x2, y2: nothing in the file tells y before x.")
        view = self._request.view or usual_view(name, canvas)
        return _Meaning(
            outputs, canvas, pixels, view, classes, name, tuple(assumed), names_background
        )

    def _arrays(self, graph: Runnable, canvas: Size, known: Known) -> dict[str, npt.NDArray[Any]]:
        """What it gives for a few images, under the names of a layout, as our graph will."""
        runs = self._run(graph, canvas, self._pixels(usual_pixels(known.name)))
        return {out.name: as_given(out, [run[out.source] for run in runs]) for out in known.outputs}

    def _outputs(self, graph: Runnable, canvas: Size, pixels: Pixels) -> list[Output]:
        runs = self._run(graph, canvas, pixels)
        return found_outputs(self._model, self._taken, graph, runs)

    def _run(
        self, graph: Runnable, canvas: Size, pixels: Pixels
    ) -> list[dict[str, npt.NDArray[Any]]]:
        """The outputs for each of a few images, by the graph's names."""
        key = canvas, pixels
        if key not in self._runs:
            self._runs[key] = one_by_one(graph, _images(canvas), self._taken, pixels)
        return self._runs[key]

    def _pixels(self, usual: Pixels) -> Pixels:
        """What the network takes, as asked, else as is usual."""
        request = self._request
        if self._taken.dtype == "uint8":
            usual = AS_THEY_ARE
        return Pixels(
            request.mean or usual.mean,
            request.std or usual.std,
            request.channels or usual.channels,
        )

    def _check_pixels(self) -> None:
        request = self._request
        if self._taken.dtype == "uint8" and (request.mean or request.std):
            raise UsageError(
                "pixels_as_they_are",
                f"{request.weights.name} takes pixels from 0 to 255 as they are.",
                "Leave --mean and --std out.",
            )

    def _said_of(self, pixels: Pixels) -> str:
        numbers = [", ".join(f"{n:.4g}" for n in each) for each in (pixels.mean, pixels.std)]
        return (
            f"It takes {pixels.channels.upper()} with mean {numbers[0]} and std {numbers[1]}, of "
            "pixels scaled to 0..1."
        )

    def _labels(self) -> int | None:
        """How many names there are, as given, else in the file."""
        if self._request.labels is not None:
            return self._request.labels
        return len(self._metadata.labels) if self._metadata.labels else None


def _images(canvas: Size) -> Images:
    return calibration_images(canvas, _TRIED_IMAGES)


FORMAT = Onnx()
