"""Darknet's ``.cfg``: the network's layers, one section each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# YOLOv4 has 162 layers and 12 kB.
MAX_BYTES = 2**20
MAX_LAYERS = 1000
# No option of a layer comes near it, and products of a few stay whole.
_MAX_NUMBER = 2**20

NETWORK = ("net", "network")
# Options that change what a layer gives, and that only a few experiments have. All others that the
# layers below do not read are about training.
_UNSUPPORTED = {
    "convolutional": (
        *("binary", "xnor", "bin_output", "deform", "sway", "rotate", "stretch", "stretch_sway"),
        *("antialiasing", "share_index", "assisted_excitation", "coordconv", "kernel_sway"),
    ),
    "maxpool": ("maxpool_depth", "out_channels", "antialiasing"),
    "shortcut": ("weights_type",),
    "route": ("stream",),
    "upsample": ("reverse",),
    "yolo": ("map", "embedding_layer", "embedding_size"),
}


class BadCfg(ValueError):
    """What is wrong with a ``.cfg``, in a few words, with its line."""


@dataclass(frozen=True)
class Section:
    """One section. ``line``: where it starts."""

    name: str
    line: int
    options: dict[str, str]

    def wrong(self, problem: str) -> BadCfg:
        """The error to raise."""
        return BadCfg(f"line {self.line}, [{self.name}]: {problem}")

    def text(self, option: str, usual: str | None = None) -> str:
        """An option. Raises BadCfg where it is missing."""
        found = self.options.get(option, usual)
        if found is None:
            raise self.wrong(f"{option} is missing")
        return found

    def number(
        self, option: str, usual: int | None = None, *, least: int = 0, most: int = _MAX_NUMBER
    ) -> int:
        """A whole number within bounds. Raises BadCfg."""
        text = self.text(option, None if usual is None else str(usual))
        found = self._number(option, text, int)
        if not least <= found <= most:
            raise self.wrong(f"{option} is {text[:30]}, and {least} to {most:,} are possible")
        return int(found)

    def numbers(self, option: str) -> list[int]:
        """A list of whole numbers. Raises BadCfg."""
        return [int(self._number(option, each, int)) for each in self._entries(option)]

    def decimals(self, option: str, usual: str | None = None) -> list[float]:
        """A list of numbers. Raises BadCfg."""
        return [self._number(option, each, float) for each in self._entries(option, usual)]

    def _entries(self, option: str, usual: str | None = None) -> list[str]:
        return [each for each in self.text(option, usual).split(",") if each]

    def _number(self, option: str, text: str, kind: type[int] | type[float]) -> float:
        try:
            found = kind(text)
        except ValueError:
            found = float("nan")
        if not abs(found) <= _MAX_NUMBER:
            raise self.wrong(f"{option} is {text[:30]!r}, which is no usable number")
        return found


@dataclass(frozen=True)
class Cfg:
    """``network``: its first section, with the size of the images. ``layers``: the others."""

    network: Section
    layers: list[Section]


def read_cfg(path: Path) -> Cfg:
    """Raises BadCfg, and OSError where it cannot be read."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadCfg(f"it has more than {MAX_BYTES:,} bytes")
    try:
        sections = list(_sections(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise BadCfg("it is no text") from error
    if not sections or sections[0].name not in NETWORK:
        raise BadCfg("it does not begin with [net]")
    network, *layers = sections
    if len(layers) > MAX_LAYERS:
        raise BadCfg(f"it has more than {MAX_LAYERS:,} layers")
    for layer in layers:
        if layer.name not in _UNSUPPORTED:
            raise layer.wrong(f"is no layer of a YOLO that is known: {', '.join(_UNSUPPORTED)}")
        for option in _UNSUPPORTED[layer.name]:
            if layer.options.get(option, "0") not in ("0", "none"):
                raise layer.wrong(f"the option {option} is not converted")
    return Cfg(network, layers)


def _sections(text: str) -> Iterator[Section]:
    section: Section | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if section is not None:
                yield section
            if not line.endswith("]"):
                raise BadCfg(f"line {number}: {raw[:50]!r} is no section")
            section = Section(line[1:-1][:50], number, {})
            continue
        name, equals, value = line.partition("=")
        if section is None or not equals or not name:
            raise BadCfg(f"line {number}: {raw[:50]!r} is no option of a section")
        if section.options.setdefault(name, value) != value:
            raise BadCfg(f"line {number}: [{section.name}] has {name[:50]} twice")
    if section is not None:
        yield section
