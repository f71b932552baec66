"""Files without their metadata, for a second try: damage to a comment costs no image.

Each function copies what pixels need and leaves the rest out. What it does not understand it copies
as it is: a damaged file stays one, and the decoder that reads it next says so.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator

from workers.preprocess.jpeg_segments import MAX_SEGMENTS
from workers.preprocess.tiff_tags import directory, entries

_MAX_PNG_TEXT_BYTES = 2**20  # Pillow refuses longer ones


def simpler(name: str, data: bytes) -> Iterator[bytes]:
    """``data`` with only the metadata that may say how it is turned, then with none."""
    strip = _STRIPPERS.get(name)
    if strip is None:
        return
    tried = {data}
    for keep_orientation in (True, False):
        try:
            stripped = strip(data, keep_orientation)
        except (struct.error, IndexError, ValueError, OverflowError):
            return
        if stripped not in tried:
            tried.add(stripped)
            yield stripped


def _png(data: bytes, keep_orientation: bool) -> bytes:
    """The critical chunks, of an animation those of its default image."""
    kept, place = [data[:8]], 8
    while place + 12 <= len(data):
        kind, end = data[place + 4 : place + 8], _png_chunk_end(data, place)
        chunk = data[place:end]
        if kind[:1].isupper():
            kept.append(chunk)
        elif not _starts_png_chunk(data, end):  # its length is wrong: where do the pixels go on?
            found = _PNG_PIXELS.search(data, place + 8)
            if found is None:
                break
            end = found.start()
        elif keep_orientation and _may_turn_png(chunk):
            kept.append(chunk)
        place = end
    return b"".join(kept)


# The length of a chunk of pixels has to fit, which a mention of its name in a text does not.
_PNG_PIXELS = re.compile(rb"\0[\0-\x7f]..(?:IDAT|PLTE)", re.DOTALL)


def _png_chunk_end(data: bytes, place: int) -> int:
    return place + 12 + int.from_bytes(data[place : place + 4])


def _starts_png_chunk(data: bytes, place: int) -> bool:
    whole = place + 12 <= len(data) and _png_chunk_end(data, place) <= len(data)
    return place == len(data) or (whole and data[place + 4 : place + 8].isalpha())


def _may_turn_png(chunk: bytes) -> bool:
    kind, body, checksum = chunk[4:8], chunk[8:-4], chunk[-4:]
    turns = kind == b"eXIf" or (
        kind in {b"iTXt", b"zTXt", b"tEXt"}
        and body.startswith((b"XML:com.adobe.xmp\0\0", b"Raw profile type exif\0"))
        and len(body) < _MAX_PNG_TEXT_BYTES
    )
    return turns and checksum == struct.pack("!I", zlib.crc32(kind + body))


_ADOBE, _EXIF = b"\xff\xee", b"\xff\xe1"
_ADOBE_BYTES = 16
_JPEG_FILL = re.compile(rb"\xff*(?=\xff)")
_JPEG_TABLES = re.compile(rb"\xff[\xc0-\xc2\xc4\xdb\xdd\xe0-\xef]")


def _jpeg(data: bytes, keep_orientation: bool) -> bytes:
    """All segments but APPn and comments; Adobe's says which colours the components are."""
    kept, place, is_lost = [data[:2]], 2, False
    for _ in range(MAX_SEGMENTS):
        fill = _JPEG_FILL.match(data, place)
        place = fill.end() if fill else place
        marker = data[place : place + 2]
        if len(data) < place + 4 or marker[0] != 0xFF or marker == b"\xff\xda":
            break
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4])
        if not (0xE0 <= marker[1] <= 0xEF or marker[1] == 0xFE):
            kept.append(data[place:end])
        elif data[end : end + 1] != b"\xff":  # its length is wrong: where do the tables begin?
            tables = None if is_lost else _jpeg_tables(data, place)
            if tables is None:
                break
            end, is_lost = tables, True
        elif (marker == _ADOBE and end - place >= _ADOBE_BYTES) or (
            keep_orientation and marker == _EXIF and data[place + 4 : place + 8] == b"Exif"
        ):
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def _jpeg_tables(data: bytes, place: int) -> int | None:
    """Where a run of segments to a scan begins. Of the largest image: the others are thumbnails."""
    best, best_start = 0, None
    areas: dict[int, int | None] = {}
    for found in _JPEG_TABLES.finditer(data, place + 2):
        if found.start() in areas:
            continue  # it lies in a run that is at least as good
        if len(areas) > MAX_SEGMENTS:  # no sound file has so many
            break
        area = _area_of_run(data, found.start(), areas)
        if area > best:
            best, best_start = area, found.start()
    return best_start


def _area_of_run(data: bytes, place: int, areas: dict[int, int | None]) -> int:
    """Pixels of the last frame in the run of segments that begins here; 0 where it is none.

    ``areas`` remembers the runs from all places seen, None where no scan follows: runs that meet
    are walked once.
    """
    frames: list[tuple[int, int]] = []  # place and area of each segment
    while place not in areas and len(frames) < MAX_SEGMENTS:
        marker = data[place + 1] if data[place : place + 1] == b"\xff" else 0
        if marker == 0xDA or not 0xC0 <= marker <= 0xFE or place + 4 > len(data):
            areas[place] = 0 if marker == 0xDA else None
            break
        if marker in {0xC0, 0xC1, 0xC2} and place + 9 <= len(data):
            height, width = struct.unpack_from("!HH", data, place + 5)
            frames.append((place, height * width))
        else:
            frames.append((place, 0))
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    area = areas.get(place)
    for start, own in reversed(frames):
        area = areas[start] = None if area is None else area or own
    return area or 0


_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_IMAGE = re.compile(rb"VP8[ L]|ALPH|ANIM|ANMF")
_WEBP_ALPHA, _WEBP_EXIF, _WEBP_ANIMATION = 0x10, 0x08, 0x02  # flags of VP8X


def _webp(data: bytes, keep_orientation: bool) -> bytes:
    kept, place = [], 12
    animation = _WEBP_ANIMATION if b"ANMF" in data else 0
    while place + 8 <= len(data):
        kind, length = (
            data[place : place + 4],
            int.from_bytes(data[place + 4 : place + 8], "little"),
        )
        end = place + 8 + length + length % 2
        if kind == b"VP8X":
            flags = _WEBP_ALPHA | (_WEBP_EXIF if keep_orientation else 0)
            flags = data[place + 8] & flags | animation
            kept.append(data[place : place + 8] + bytes([flags]) + data[place + 9 : end])
        elif kind in _WEBP_PIXELS or (keep_orientation and kind == b"EXIF" and end <= len(data)):
            kept.append(data[place:end])
        elif end > len(data) or not data[end : end + 3].strip(b"\0").isalnum():
            found = _WEBP_IMAGE.search(data, place + 8)
            end = found.start() if found else len(data)
        place = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _gif(data: bytes, _keep_orientation: bool) -> bytes:
    """Up to the first image without comments and other extensions, from there on as it is."""
    start = 13 + ((3 << (data[10] & 7) + 1) if data[10] & 0x80 else 0)
    control, place = _gif_image(data, start)
    return data[:start] + control + data[place:]


_GIF_IMAGE = re.compile(rb"(?:!\xf9\x04.{4}\0)?(?=,)", re.DOTALL)


def _gif_image(data: bytes, place: int) -> tuple[bytes, int]:
    """The graphic control of the first image, if it has one, and where that image begins."""
    control, start = b"", place
    while data[place : place + 1] == b"!":
        end = place + 2
        while end < len(data) and data[end]:
            end += 1 + data[end]
        if data[place + 1] == 0xF9 and end == place + 7:
            control = data[place : end + 1]
        place = end + 1
    if data[place : place + 1] == b",":
        return control, place
    # The length of an extension is wrong: look for an image that fits.
    for found in _GIF_IMAGE.finditer(data, start):
        if _fits_gif(data, found.end()):
            return found[0], found.end()
    return b"", start


def _fits_gif(data: bytes, place: int) -> bool:
    """Is there an image at ``place`` that lies inside the screen, and its data begin as any do?"""
    screen_width, screen_height = struct.unpack_from("<HH", data, 6)
    left, top, width, height, flags = struct.unpack_from("<4HB", data, place + 1)
    codes = place + 10 + ((3 << (flags & 7) + 1) if flags & 0x80 else 0)
    inside = 0 < width <= screen_width - left and 0 < height <= screen_height - top
    return inside and 2 <= data[codes] <= 8 and data[codes + 1] > 0


# Tags that pixels need: of sizes, layout, compression, colours and turn.
_TIFF_PIXELS = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 281, 284, 292, 293, 317)
).union((320, 322, 323, 324, 325, 332, 334, 336, 338, 339, 347), range(512, 522), range(529, 533))


def _tiff(data: bytes, keep_orientation: bool) -> bytes:
    """The first page, whose directory is shortened in its place, so that no offset changes."""
    found = directory(data)
    if found is None:
        return data
    needed = _TIFF_PIXELS if keep_orientation else _TIFF_PIXELS - {274}
    kept = [entry for tag, entry in entries(data, found) if tag in needed]
    count = struct.pack(found.order + ("Q" if found.big else "H"), len(kept))
    none_follows = bytes(8 if found.big else 4)
    written = count + b"".join(kept) + none_follows
    start = found.start - len(count)
    return data[:start] + written + data[start + len(written) :]


def _bmp(data: bytes, _keep_orientation: bool) -> bytes:
    """Without a count of colours that its bits do not allow."""
    bits, colours = struct.unpack_from("<H", data, 28)[0], struct.unpack_from("<I", data, 46)[0]
    if int.from_bytes(data[14:18], "little") < 40 or bits > 8 or colours <= 1 << bits:
        return data
    return data[:46] + bytes(4) + data[50:]


_JP2_PIXELS = frozenset((b"ihdr", b"bpcc", b"pclr", b"cmap", b"cdef"))


def _jpeg2000(data: bytes, _keep_orientation: bool) -> bytes:
    """The header boxes that pixels need, and the codestream."""
    stream = data.find(b"\xff\x4f\xff\x51")
    header = data.find(b"jp2h", 0, stream) - 4
    if stream < 0 or header < 0 or data.startswith(b"\xff\x4f"):
        return data
    kept, place = [], header + 8
    while place + 8 <= stream:
        length, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        if not 8 <= length <= stream - place:
            break
        if kind in _JP2_PIXELS or (kind == b"colr" and data[place + 8] == 1):
            kept.append(data[place : place + length])
        place += length
    boxes = b"".join(kept)
    start = b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    head = struct.pack("!I4s", 8 + len(boxes), b"jp2h") + boxes
    body = data[stream:]
    return start + head + struct.pack("!I4s", 8 + len(body), b"jp2c") + body


_AVIF_ITEMS = re.compile(rb"(infe[\2\3]\0\0.(?:..|....)\0\0)(?:Exif|mime)", re.DOTALL)


def _avif(data: bytes, _keep_orientation: bool) -> bytes:
    """Its EXIF and XMP are items like the pixels: here they become ones of no known type."""
    return _AVIF_ITEMS.sub(rb"\1free", data)


_STRIPPERS: dict[str, Callable[[bytes, bool], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "GIF": _gif,
    "TIFF": _tiff,
    "BMP": _bmp,
    "JPEG 2000": _jpeg2000,
    "AVIF": _avif,
}
