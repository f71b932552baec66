"""Darknet's YOLOs, versions 3 and 4 and their tiny ones: a ``.weights`` with its ``.cfg``."""

from __future__ import annotations

from pathlib import Path

from shared.catalog.exports import ExportedModel, ExportRequest, ModelInput
from shared.errors import PermanentError, UsageError
from shared.fields import MAX_SIDE_PIXELS, Channels
from shared.views import View
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from workers.inference.formats.darknet import layers, yolo
from workers.inference.formats.darknet.cfg import BadCfg, Cfg, read_cfg
from workers.inference.formats.darknet.weights import BadWeights, Weights
from workers.inference.graph_writer import GraphWriter

# Pixels from 0 to 1.
_MEAN: Channels = (0.0, 0.0, 0.0)
_STD: Channels = (1.0, 1.0, 1.0)
_GRAY = 127  # of the bars of Darknet's letterbox: 0.5


class Darknet:
    """Reads networks of convolutions that end in one or more [yolo]."""

    options = frozenset({"config"})

    def is_format_of(self, weights: Path) -> bool:
        """See ``Format``."""
        return weights.suffix.lower() == ".weights"

    def export(self, request: ExportRequest) -> ExportedModel:
        """See ``Format``."""
        name = request.weights.name
        if request.config is None:
            raise UsageError(
                "no_config",
                f"{name} has weights alone, and not the network they belong to.",
                "Add --config, with the .cfg that they were trained with.",
            )
        try:
            return _export(request, read_cfg(request.config))
        except BadCfg as error:
            raise PermanentError(
                "bad_cfg",
                f"{request.config.name} is no YOLO of Darknet's that can be read: {error}.",
                "Take the .cfg of a YOLOv3 or YOLOv4.",
            ) from error
        except BadWeights as error:
            raise PermanentError(
                "bad_weights",
                f"{name} does not have the weights of {request.config.name}: {error}.",
                "Take the .weights and the .cfg of one training.",
            ) from error


def _export(request: ExportRequest, cfg: Cfg) -> ExportedModel:
    view = _view(cfg)
    if request.view is not None and request.view.canvas != view.canvas:
        raise BadCfg(
            f"it takes {' × '.join(map(str, view.canvas))} pixels, and not those asked for"
        )
    view = request.view or view
    width, height = view.canvas
    ends = [layer for layer in cfg.layers if layer.name == "yolo"]
    if not ends:
        raise BadCfg("it has no [yolo]")
    classes = {yolo.classes_of(end) for end in ends}
    if len(classes) > 1:
        raise BadCfg("its [yolo] sections differ in their classes")
    planned = layers.plan(cfg, (3, height, width))
    for place, layer in enumerate(cfg.layers):
        if layer.name == "yolo":
            yolo.require_fits(layer, planned.shapes[place])
    weights = Weights(request.weights)
    if weights.count != planned.numbers:
        raise BadWeights(f"it has {weights.count:,} numbers, and {planned.numbers:,} are needed")
    mean, std = request.mean or _MEAN, request.std or _STD
    writer = GraphWriter(view.canvas, mean, std)
    boxes, count = _write(cfg, planned, weights, writer, view)
    (number,) = classes
    outputs = {"boxes": (boxes, (count, 5 + number))}
    return ExportedModel(
        format="darknet",
        layout="rows_with_objectness",
        view=view,
        mean=mean,
        std=std,
        outputs=writer.write(request.output, request.sha256, outputs),
        classes=number,
        inputs=(ModelInput(name="net", dtype="float32", shape=(None, 3, height, width)),),
    )


def _view(cfg: Cfg) -> View:
    """What the network takes: Darknet stretches images unless the cfg says letter_box."""
    network = cfg.network
    width, height = (
        network.number(side, least=1, most=MAX_SIDE_PIXELS) for side in ("width", "height")
    )
    if network.number("channels", 3) != 3:
        raise network.wrong("only images of 3 channels are possible")
    if network.number("letter_box", 0):
        return Letterbox(width=width, height=height, pad=_GRAY)
    return Stretch(width=width, height=height)


def _write(
    cfg: Cfg, planned: layers.Planned, weights: Weights, writer: GraphWriter, view: View
) -> tuple[str, int]:
    """Write all layers. Returns the rows of all maps, and how many there are."""
    width, height = view.canvas
    done: list[layers.Layer] = []
    given = layers.Layer(writer.pixels, (3, height, width))
    rows: list[str] = []
    count = 0
    for section, shape in zip(cfg.layers, planned.shapes, strict=True):
        array = given.array
        if section.name == "convolutional":
            array = layers.convolution(section, given, weights, writer)
        elif section.name == "maxpool":
            array = layers.pool(section, given, writer)
        elif section.name == "upsample":
            array = layers.upsample(section, given, writer)
        elif section.name == "route":
            array = layers.route(section, done, writer)
        elif section.name == "shortcut":
            array = layers.shortcut(section, given, done, writer)
        else:
            found, more = yolo.rows(section, given, view.canvas, writer)
            rows.append(found)
            count += more
        given = layers.Layer(array, shape)
        done.append(given)
    return (rows[0] if len(rows) == 1 else writer.add("Concat", rows, axis=1)), count


FORMAT = Darknet()
