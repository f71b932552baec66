"""Images that claim, hide or end more than they should: one code each, in a bounded process."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.pipeline import Preprocess
from tests.support.decoding import USUAL_VIEW, decode
from tests.support.pictures import difference, encoded, picture
from tests.support.samples import pipeline
from workers.preprocess.fill import ImageFiller, empty_row

HUGE = 65_500
MAX_GROWTH_BYTES = 300 * 2**20
STEP_BYTES = 64


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", checksum)


def zeros(count: int) -> bytes:
    """So many of them, deflated."""
    deflate, block = zlib.compressobj(1), bytes(2**20)
    parts = [deflate.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, deflate.flush()])


def png(width: int, height: int, *before: bytes, bits: int = 8, data: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, bits, 0, 0, 0, 0))
    rest = [*before, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(rest)


def small_png(*before: bytes) -> bytes:
    return png(8, 8, *before, data=zlib.compress(bytes(9 * 8)))


def claiming_jpeg() -> bytes:
    data = encoded(picture(), "JPEG")
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack("!HH", HUGE, HUGE) + data[place + 4 :]


def claiming_webp() -> bytes:
    """Lossy, whose header has 14 bits for each side."""
    data = encoded(picture(), "WEBP")
    place = data.index(b"VP8 ") + 14
    return data[:place] + struct.pack("<HH", 2**14 - 1, 2**14 - 1) + data[place + 4 :]


def animated_webp() -> bytes:
    """An animation whose canvas is 16,384 pixels square, of a frame that is small."""
    data = bytearray(animation("WEBP", 2))
    place = data.index(b"VP8X") + 12
    data[place : place + 6] = (2**14 - 1).to_bytes(3, "little") * 2
    return bytes(data)


def claiming_gif() -> bytes:
    data = encoded(picture(), "GIF")
    return data[:6] + struct.pack("<HH", HUGE, HUGE) + data[10:]


def claiming_bmp() -> bytes:
    data = encoded(picture(), "BMP")
    return data[:18] + struct.pack("<ii", HUGE, HUGE) + data[26:]


def animation(format: str, frames: int) -> bytes:
    shades = [Image.new("RGB", (64, 48), (n * 99 % 256, n // 256, 9)) for n in range(frames)]
    return encoded(shades[0], format, save_all=True, append_images=shades[1:])


def zipped(inside: bytes = b"x" * 1000) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.jpg", inside)
    return sink.getvalue()


def avif_of(width: int, height: int) -> bytes:
    """An AVIF whose container claims other sides than its pixels have."""
    data = encoded(picture(), "AVIF")
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack("!II", width, height) + data[place + 8 :]


def avif_sequence() -> bytes:
    """A sequence that claims two thousand million frames in the table of their durations."""
    data = animation("AVIF", 3)
    place = data.index(b"stts") + 12
    return data[:place] + struct.pack("!I", 2**31) + data[place + 4 :]


def jp2_of(
    width: int, height: int, tile: int = HUGE, components: int = 3, levels: int = 5
) -> bytes:
    """A codestream of JPEG 2000 with this header and the data of a small image."""
    data = encoded(picture(), "JPEG2000", no_jp2=True)
    sizes = struct.pack("!8I", width, height, 0, 0, tile, tile, 0, 0)
    siz = b"\0\0" + sizes + struct.pack("!H", components) + b"\x07\1\1" * components
    rest = bytearray(data[data.index(b"\xff\x52") :])
    rest[9] = levels
    return b"\xff\x4f\xff\x51" + struct.pack("!H", len(siz) + 2) + siz + bytes(rest)


def jp2_in_boxes(stream: bytes, claims: tuple[int, int]) -> bytes:
    """Boxes that claim a small image around a codestream that claims another."""
    data = encoded(picture(), "JPEG2000")
    place, ihdr = data.index(b"\xff\x4f\xff\x51"), data.index(b"ihdr") + 4
    header = data[:ihdr] + struct.pack("!II", *claims) + data[ihdr + 8 : place]
    return header + stream


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack("!H", len(body) + 2) + body


def jp2_divided(
    side: int,
    *,
    levels: int = 0,
    precinct: int | None = None,
    block: int = 4,
    layers: int = 1,
    place: str = "image",
    data_bytes: int = 1000,
) -> bytes:
    """A gray codestream of one tile of zeros. ``block`` and the halves of ``precinct`` are
    exponents; ``place``: of the image, of a component or of the tile they are."""
    sizes = struct.pack("!8I", side, side, 0, 0, side, side, 0, 0)
    siz = segment(0x51, b"\0\0" + sizes + b"\0\1\7\1\1")
    has_precincts = bytes([precinct is not None])
    style = bytes([levels, block, block, 0, 1]) + bytes([precinct or 0] * (levels + 1))
    style = style if precinct is not None else style[:5]
    usual = segment(0x52, bytes([0, 0, 0, 1, 0, levels, 4, 4, 0, 1]))
    odd = segment(0x52, has_precincts + b"\0" + struct.pack("!H", layers) + b"\0" + style)
    if "component" in place:
        odd = segment(0x53, b"\0" + has_precincts + style)
    of_image = odd if place == "image" else usual + (b"" if "tile" in place else odd)
    tile = (odd if "tile" in place else b"") + b"\xff\x93" + bytes(data_bytes)
    part = segment(0x90, b"\0\0" + struct.pack("!I", 12 + len(tile)) + b"\0\1")
    quantization = segment(0x5C, b"\x40" * (2 + 3 * levels))
    return b"\xff\x4f" + siz + of_image + quantization + part + tile + b"\xff\xd9"


def jp2_behind_a_small_one() -> bytes:
    """A box before the codestream holds the header of a small image."""
    small = jp2_divided(64)[:47]
    box = struct.pack("!I4s", 8 + len(small), b"uuid") + small
    data = jp2_in_boxes(jp2_divided(9_000, levels=1, precinct=0x11), (9_000, 9_000))
    place = data.index(b"jp2h") - 4
    return data[:place] + box + data[place:]


def tiff_of_tags(count: int, big: bool = False) -> bytes:
    """Each of them claims a long list of values."""
    entry = struct.pack("<HHQQ" if big else "<HHII", 300, 4, 2**31 - 1, 8)
    start = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, count)
    start = start if big else b"II*\0\x08\0\0\0" + struct.pack("<H", count)
    return start + entry * count + bytes(100_000)


# What would take a decoder gigabytes, or us minutes; each in a few kilobytes.
COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "jp2 of precincts of a pixel": (lambda: jp2_divided(3_000, precinct=0), "bomb"),
    "jp2 of small precincts": (lambda: jp2_divided(9_000, levels=1, precinct=0x11), "bomb"),
    "jp2 of small code blocks": (lambda: jp2_divided(9_000, levels=5, block=0), "bomb"),
    "jp2 of many layers": (
        lambda: jp2_divided(300, precinct=0x22, layers=65_535, data_bytes=100_000),
        "bomb",
    ),
    "jp2 of many layers and blocks": (lambda: jp2_divided(9_000, block=2, layers=65_535), "bomb"),
    **{
        f"jp2 of small precincts of a {place}": (
            lambda place=place: jp2_divided(3_000, precinct=0, place=place),
            "bomb",
        )
        for place in ("component", "tile", "tile's component")
    },
    "jp2 of small precincts behind a sound header": (jp2_behind_a_small_one, "bomb"),
    "jp2 of usual precincts": (lambda: jp2_divided(3_000, levels=5, precinct=0x77), "ok"),
    "jp2 of usual layers": (lambda: jp2_divided(3_000, levels=5, block=3, layers=20), "ok"),
    "jpeg of many segments": (
        lambda: b"\xff\xd8\xff\xe0\0\5abcX" + b"\xff\xe0\0\2" * 10_000,
        "truncated",
    ),
    "jpeg of many wrong lengths": (lambda: b"\xff\xd8" + b"\xff\xe0" * 500_000, "truncated"),
    "webp of many headers": (
        lambda: b"RIFF\0\0\0\0WEBP" + (b"VP8X\x0a\0\0\0" + bytes(10)) * 50_000,
        "corrupt",
    ),
    "webp of many wrong lengths": (
        lambda: b"RIFF\0\0\0\0WEBP" + b"abcd\xff\xff\xff\xff" * 50_000,
        "corrupt",
    ),
    "tiff of many tags": (lambda: tiff_of_tags(65_535), "bomb"),
    "tiff of fewer tags": (lambda: tiff_of_tags(4_096), "corrupt"),
    "bigtiff of many tags": (lambda: tiff_of_tags(500_000, big=True), "bomb"),
}

HARMFUL: dict[str, tuple[Callable[[], bytes], str]] = {
    "jpeg that claims much": (claiming_jpeg, "bomb"),
    "webp that claims much": (claiming_webp, "bomb"),
    "gif that claims much": (claiming_gif, "bomb"),
    "bmp that claims much": (claiming_bmp, "bomb"),
    "png of a gigapixel": (lambda: png(30_000, 30_000, bits=1, data=zeros(113 << 20)), "bomb"),
    "png whose data never end": (lambda: png(8, 8, data=zeros(1 << 29)), "ok"),
    "png with a long text": (
        lambda: small_png(png_chunk(b"zTXt", b"k\0\0" + zeros(1 << 28))),
        "ok",
    ),
    "png with a long profile": (
        lambda: small_png(png_chunk(b"iCCP", b"k\0\0" + zeros(1 << 28))),
        "ok",
    ),
    "animated gif": (lambda: animation("GIF", 3000), "ok"),
    "animated png": (lambda: animation("PNG", 300), "ok"),
    "animated webp": (lambda: animation("WEBP", 300), "ok"),
    "animated webp that claims much": (animated_webp, "bomb"),
    "avif that claims much": (lambda: avif_of(30_000, 30_000), "bomb"),
    "avif that claims more than its decoder takes": (lambda: avif_of(2**31, 2**31), "bomb"),
    "avif sequence": (lambda: animation("AVIF", 100), "ok"),
    "avif sequence that claims many frames": (avif_sequence, "ok"),
    "jp2 that claims much": (lambda: jp2_of(HUGE, HUGE), "bomb"),
    "jp2 of a large tile": (lambda: jp2_of(9_000, 9_000), "corrupt"),
    "jp2 of many tiles": (lambda: jp2_of(9_000, 9_000, tile=32), "bomb"),
    "jp2 of tiles of a pixel": (lambda: jp2_of(255, 255, tile=1), "bomb"),
    "jp2 of many components": (lambda: jp2_of(64, 48, components=16_384), "unsupported"),
    "jp2 of many resolutions": (lambda: jp2_of(64, 48, levels=255), "corrupt"),
    "jp2 whose boxes claim less": (
        lambda: jp2_in_boxes(jp2_of(HUGE, HUGE), (48, 64)),
        "bomb",
    ),
    **COSTLY,
    "zip": (zipped, "not_an_image"),
    "zip behind a jpeg": (lambda: encoded(picture(), "JPEG") + zipped(), "ok"),
    "zip bomb behind a png": (lambda: encoded(picture()) + zipped(bytes(1 << 28)), "ok"),
    "jpeg behind a zip": (lambda: zipped() + encoded(picture(), "JPEG"), "not_an_image"),
}


def test_what_claims_or_hides_much_takes_little_memory(tmp_path: Path) -> None:
    for name, (make, _) in HARMFUL.items():
        (tmp_path / name).write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bounded_decoder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("peak_bytes") < MAX_GROWTH_BYTES
    assert found == {name: code for name, (_, code) in HARMFUL.items()}


def test_a_bomb_names_its_limit_and_what_would_change_it() -> None:
    limits = {
        "raise it there": (claiming_webp(), Preprocess()),
        "no side may have more than 1000000, in any pipeline": (
            encoded(Image.new("1", (1_100_000, 2))),
            Preprocess(),
        ),
        "4290250000 pixels, more than the 1000000000 that any": (claiming_bmp(), Preprocess()),
        "65500x65500 pixels, 4290250000 in all, more than the": (jp2_of(HUGE, HUGE), Preprocess()),
        "max_pixels of 100": (encoded(picture()), Preprocess(max_pixels=100)),
        "AVIF is decoded up to": (avif_of(30_000, 30_000), Preprocess(max_pixels=10**9)),
        "Save it with larger ones": (jp2_divided(3_000, precinct=0), Preprocess()),
        "Save it with fewer layers": (jp2_divided(3_000, layers=65_535), Preprocess()),
        "no pipeline takes more than 4096": (tiff_of_tags(5_000), Preprocess()),
        "Save it with larger tiles": (jp2_of(255, 255, tile=1), Preprocess()),
    }
    for text, (data, preprocess) in limits.items():
        with pytest.raises(ItemError) as caught:
            decode(data, preprocess)
        assert (caught.value.item_code, text in caught.value.message) == (ItemErrorCode.BOMB, True)


@pytest.mark.parametrize("format", ["AVIF", "JPEG2000", "WEBP"])
def test_no_decoder_starts_threads(format: str) -> None:
    data = encoded(Image.effect_noise((1200, 900), 60).convert("RGB"), format)
    before, seen, done = threads(), [], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    decode(data, Preprocess())
    done.set()
    watcher.join()
    assert max(seen) <= before + 1  # the watcher


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (2, 3)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_narrow_images_fill_their_row(size: tuple[int, int], format: str) -> None:
    row = empty_row(USUAL_VIEW)
    data = encoded(Image.new("RGB", size, (200, 100, 50)), format)
    filled = ImageFiller(pipeline())([row], data)
    assert (filled.width, filled.height) == size
    assert difference(row, np.full_like(row, (200, 100, 50))) < 3


def check_truncations(data: bytes) -> None:
    """Cut at any place it is truncated, unless no pixel is missing: there is never a part of it."""
    whole = decode(data, Preprocess()).pixels
    for kept in range(STEP_BYTES, len(data), STEP_BYTES):
        if kept <= len(data) - STEP_BYTES:
            with pytest.raises(ItemError) as caught:
                decode(data[:kept], Preprocess())
            assert caught.value.item_code is ItemErrorCode.TRUNCATED, kept
        else:
            with suppress(ItemError):
                assert np.array_equal(decode(data[:kept], Preprocess()).pixels, whole)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        *((format, {}) for format in ("JPEG", "PNG", "GIF", "BMP", "WEBP")),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_truncation_at_every_64th_byte(format: str, options: dict[str, object]) -> None:
    noise = Image.effect_noise((120, 90), 60).convert("RGB")
    check_truncations(encoded(noise, format, **options))


@pytest.mark.shared_data
def test_a_photo_truncated_at_every_64th_byte(photos: list[Path]) -> None:
    check_truncations(min(photos[:50], key=lambda path: path.stat().st_size).read_bytes())


@pytest.mark.shared_data
def test_photos_of_every_orientation_come_upright(shared_data: Path) -> None:
    folder = shared_data / "orientation"
    for shape in ("Landscape", "Portrait"):
        upright = decode((folder / f"{shape}_1.jpg").read_bytes(), Preprocess())
        reference = Image.fromarray(upright.pixels).resize((60, 60))
        for orientation in range(2, 9):
            turned = decode((folder / f"{shape}_{orientation}.jpg").read_bytes(), Preprocess())
            assert (turned.width, turned.height) == (upright.width, upright.height)
            assert difference(Image.fromarray(turned.pixels).resize((60, 60)), reference) < 12
