"""What the headers of a JPEG 2000 claim, and which claims would cost too much.

OpenJPEG takes memory for each tile, and for each precinct and code block of it, before it reads
any of their data.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shared.pixels import Pixels

_START = b"\xff\x4f\xff\x51"
_SIZ = re.compile(re.escape(_START) + rb".{4}(.{32})(..)(.)", re.DOTALL)
# Headers of coding styles, of the image, a component or a tile. They are
# looked for everywhere: so long a pattern is not found in coded data.
_STYLES = (
    re.compile(
        rb"\xff\x52(?=\0[\x0c-\x2d]([\0-\7]).(..).([\0-\x20])([\0-\x08])([\0-\x08])..)", re.DOTALL
    ),
    re.compile(
        rb"\xff\x53(?=\0[\x09-\x2b].([\0\1])()([\0-\x20])([\0-\x08])([\0-\x08])..)", re.DOTALL
    ),
)

# Each tile costs some 10 kB: as much as so many pixels.
_MIN_TILE_PIXELS = 64 * 64
_FREE_TILES = 256
# Each precinct of a band and each code block costs some 500 bytes, and encoders make code blocks
# of 32x32 or 64x64. A small image may have more, in up to 30 MB.
_MIN_BLOCK_SAMPLES = 64
_FREE_BLOCKS = 2**16
# Each layer may visit each block: encoders write up to some 20 layers.
_MAX_VISITS_PER_SAMPLE = 0.25
_FREE_VISITS = 2**22


@dataclass(frozen=True, slots=True)
class Header:
    """Of the whole image. ``bits`` are those of the first component's samples."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    tiles: int
    components: int
    bits: int


@dataclass(frozen=True, slots=True)
class _Style:
    """How a tile's component is divided. Sizes are exponents of two."""

    layers: int
    levels: int
    block: tuple[int, int]
    precincts: bytes  # of each resolution: the height in the upper half

    def blocks(self, width: int, height: int) -> int:
        """How many precincts and code blocks so large a tile has in one component."""
        count = 0
        for resolution in range(self.levels + 1):
            shift = self.levels - resolution
            sides = -(-width >> shift), -(-height >> shift)
            size = self.precincts[resolution] if resolution < len(self.precincts) else 0xFF
            precinct = size & 15, size >> 4
            precincts, blocks, bands = 1, 1, 1
            if resolution:  # of which the bands have half the sides
                bands = 3
            for side, exponent, block in zip(sides, precinct, self.block, strict=True):
                precincts *= -(-side >> exponent)
                if resolution:
                    side, exponent = -(-side >> 1), max(0, exponent - 1)
                blocks *= -(-side >> min(exponent, block))
            count += bands * (precincts + blocks)
        return count


def jpeg2000_header(data: bytes) -> Header | None:
    """What the codestream says of itself; None where no decoder would read it."""
    found = _SIZ.match(data, _codestream(data))
    if found is None:
        return None
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack(
        "!8I", found[1]
    )
    width, height = right - left, bottom - top
    if not (tile_width and tile_height and width > 0 and height > 0):
        return None
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    bits = (found[3][0] & 0x7F) + 1
    tile = min(tile_width, width), min(tile_height, height)
    return Header(width, height, *tile, tiles, int.from_bytes(found[2]), bits)


def _codestream(data: bytes) -> int:
    """Where it begins: what a box before it holds may look like one."""
    place = 0
    while not data.startswith(_START, place):
        length, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        header_bytes = 8
        if length == 1:
            length, header_bytes = int.from_bytes(data[place + 8 : place + 16]), 16
        if kind == b"jp2c":
            return place + header_bytes
        if length < header_bytes or place + length > len(data):
            return max(0, data.find(_START, place))
        place += length
    return place


def stretched(pixels: Pixels, data: bytes) -> Pixels:
    """Samples of fewer than 8 bits, which Pillow only shifts, so that white is 255."""
    header = jpeg2000_header(data)
    if header is None or header.bits >= 8:
        return pixels
    white = 256 - (256 >> header.bits)
    levels = np.minimum(np.arange(256) * 255 // white, 255).astype(np.uint8)
    return levels[pixels]


def too_much(header: Header, data: bytes) -> str | None:
    """Why the image is not decoded, if its parts would cost far more than its pixels."""
    pixels = header.width * header.height
    claims = f"for {header.width}x{header.height} pixels: no pipeline takes"
    if header.tiles > max(_FREE_TILES, pixels // _MIN_TILE_PIXELS):
        return (
            f"It claims {header.tiles} tiles {claims} more than one for each {_MIN_TILE_PIXELS} "
            "pixels. Save it with larger tiles."
        )
    samples, layers = pixels * header.components, 1
    for style in _styles(data):
        layers = max(layers, style.layers)
        blocks = style.blocks(header.tile_width, header.tile_height)
        blocks *= header.tiles * header.components
        if blocks > max(_FREE_BLOCKS, samples // _MIN_BLOCK_SAMPLES):
            return (
                f"It claims {blocks} precincts and code blocks {claims} more than one for each "
                f"{_MIN_BLOCK_SAMPLES} samples. Save it with larger ones."
            )
        if layers * blocks > max(_FREE_VISITS, samples * _MAX_VISITS_PER_SAMPLE):
            return (
                f"It claims {layers} layers of {blocks} precincts and code blocks {claims} so "
                "many. Save it with fewer layers."
            )
    return None


def _styles(data: bytes) -> Iterator[_Style]:
    """In the order of the file, those of single components last."""
    seen = set()
    for pattern in _STYLES:
        for found in pattern.finditer(data):
            flags, layers, levels, width, height = found.groups()
            place = found.end(5) + 2
            precincts = data[place : place + levels[0] + 1] if flags[0] & 1 else b""
            style = _Style(
                int.from_bytes(layers), levels[0], (width[0] + 2, height[0] + 2), precincts
            )
            if style not in seen:
                seen.add(style)
                yield style
