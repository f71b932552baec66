"""Damage of JPEG data is noticed, and nothing else is taken for it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.item import ImageWarning
from shared.pipeline import Preprocess
from tests.support.decoding import decode
from tests.support.fake_network import Parcels
from tests.support.fake_store import FakeStore
from tests.support.gray_squares import batch_of, chunk, codes, column, make_stage, small_ring
from tests.support.pictures import difference, encoded, picture
from workers.suspects import SUSPECT_LOSSES

LENIENT, STRICT = Preprocess(), Preprocess(decode="strict")
END = b"\xff\xd9"
# Smooth, with noise: its data is as dense as that of a photo.
PHOTO = Image.blend(picture(400, 304), Image.effect_noise((400, 304), 60).convert("RGB"), 0.3)
KINDS = {
    "baseline 4:2:0": encoded(PHOTO, "JPEG"),
    "baseline 4:4:4": encoded(PHOTO, "JPEG", subsampling=0),
    "baseline 4:2:2": encoded(PHOTO, "JPEG", subsampling=1),
    "optimized": encoded(PHOTO, "JPEG", optimize=True),
    "restarts": encoded(PHOTO, "JPEG", restart_marker_blocks=10),
    "progressive": encoded(PHOTO, "JPEG", progressive=True),
    "progressive restarts": encoded(PHOTO, "JPEG", progressive=True, restart_marker_blocks=10),
    "gray": encoded(PHOTO.convert("L"), "JPEG"),
    "CMYK": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "CMYK progressive": encoded(PHOTO.convert("CMYK"), "JPEG", progressive=True),
    "MPO": encoded(PHOTO, "MPO", save_all=True, append_images=[picture()]),
}
every_kind = pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)


def warning(data: bytes) -> ImageWarning | None:
    return decode(data, LENIENT).warning


def scans(data: bytes) -> list[tuple[int, int]]:
    """Where the coded data of the first picture's scans begins and ends."""
    found, position = [], 2
    while data[position + 1] != END[1]:
        is_scan = data[position + 1] == 0xDA
        position += 2 + int.from_bytes(data[position + 2 : position + 4])
        if is_scan:
            start = position
            after = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(data, start)
            assert after
            position = after.start()
            found.append((start, position))
    return found


def longest_scan(data: bytes) -> tuple[int, int]:
    return max(scans(data), key=lambda scan: scan[1] - scan[0])


def separate_scans() -> bytes:
    """A baseline picture whose components have a scan each."""
    planes = [encoded(plane, "JPEG") for plane in PHOTO.split()]
    first = planes[0]
    frame, scan = first.index(b"\xff\xc0"), first.index(b"\xff\xda")
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    header = b"\xff\xc0\0\x11" + first[frame + 4 : frame + 9] + b"\3" + components
    tables = first[frame + 2 + int.from_bytes(first[frame + 2 : frame + 4]) : scan]
    coded = [plane[slice(*scans(plane)[0])] for plane in planes]
    starts = [b"\xff\xda\0\x08\1" + bytes((number, 0, 0, 63, 0)) for number in (1, 2, 3)]
    body = b"".join(start + data for start, data in zip(starts, coded, strict=True))
    return first[:frame] + header + tables + body + END


KINDS["baseline of three scans"] = separate_scans()

# What is odd about a file without any damage to its picture, which ends at ``end``.
ODD: dict[str, Callable[[bytes, int], bytes]] = {
    "as it is": lambda data, end: data,
    "no end marker": lambda data, end: data[:end],
    "half an end marker": lambda data, end: data[: end + 1],
    "zeros, no end marker": lambda data, end: data[:end] + bytes(100),
    "zeros before the end": lambda data, end: data[:end] + bytes(100) + data[end:],
    "a zero before the end": lambda data, end: data[:end] + b"\0" + data[end:],
    "three zeros before the end": lambda data, end: data[:end] + bytes(3) + data[end:],
    "spaces before the end": lambda data, end: data[:end] + b" " * 40 + data[end:],
    "0xff before the end": lambda data, end: data[:end] + b"\xff" * 100 + data[end:],
    "a restart marker before the end": lambda data, end: data[:end] + b"\xff\xd0" + data[end:],
    "junk after the end": lambda data, end: data + b"junk" * 100,
    "a film after the end": lambda data, end: data + b"\0\0\0\x18ftypmp42" + b"\xff\xd8\xff" * 99,
    "another picture after the end": lambda data, end: data + KINDS["gray"][:500],
    "fill bytes": lambda data, end: data[:2] + b"\xff" * 100 + data[2:],
    "an odd APP15": lambda data, end: data[:2] + b"\xff\xef\0\x05\xff\xda\0" + data[2:],
    "JFIF of a future version": lambda data, end: data.replace(b"JFIF\0\1", b"JFIF\0\x63", 1),
    "an unknown Adobe transform": lambda data, end: (
        data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x63" + data[2:]
    ),
    "an ICC profile of nonsense": lambda data, end: (
        data[:2] + b"\xff\xe2\0\x12ICC_PROFILE\0\x09\x02xx" + data[2:]
    ),
    "bytes between two segments": lambda data, end: data.replace(
        b"\xff\xdb", bytes(7) + b"\xff\xdb", 1
    ),
    "a sequential scan with odd parameters": lambda data, end: (
        data if b"\xff\xc2" in data[:1000] else data.replace(b"\0\x3f\0", b"\0\0\0")
    ),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@every_kind
def test_a_sound_picture_has_no_warning(data: bytes, odd: Callable[[bytes, int], bytes]) -> None:
    found = decode(odd(data, scans(data)[-1][1]), STRICT)
    assert found.warning is None
    if odd is not ODD["an unknown Adobe transform"]:  # which changes the colours
        assert difference(found.pixels, decode(data, LENIENT).pixels) == 0


@every_kind
def test_a_picture_that_is_cut_and_ended_has_a_warning(data: bytes) -> None:
    for start, end in scans(data):
        for place in (start, start + (end - start) // 3, end - 1):
            assert warning(data[:place] + END) == "damaged_data"


@pytest.mark.parametrize("filling", [b"\0", b"\xa5", b" "])
@every_kind
def test_a_picture_that_is_cut_and_filled_up_has_a_warning_or_fails(
    data: bytes, filling: bytes
) -> None:
    start, end = longest_scan(data)
    for place in (start + (end - start) // 3, start + (end - start) * 2 // 3):
        for filled in (end - place, 5 * (end - place)):
            cut = data[:place] + filling * filled
            assert warning(cut + END) == "damaged_data"
            with suppress(ItemError):
                assert warning(cut) == "damaged_data"


@every_kind
def test_a_picture_that_is_cut_is_truncated_as_before(data: bytes) -> None:
    start, end = scans(data)[-1]
    for place in (start + (end - start) // 3, end - 2):
        with pytest.raises(ItemError) as caught:
            decode(data[:place], LENIENT)
        assert caught.value.item_code is ItemErrorCode.TRUNCATED


@pytest.mark.parametrize("kind", ["progressive", "CMYK progressive", "baseline of three scans"])
def test_a_picture_without_its_last_scans_has_a_warning(kind: str) -> None:
    data = KINDS[kind]
    for _, end in scans(data)[:-1]:
        assert warning(data[:end] + END) == "damaged_data"


@pytest.mark.parametrize("garble", [bytes, lambda count: b"\xa5\x5a" * (count // 2)])
@every_kind
def test_garbled_data_has_a_warning(data: bytes, garble: Callable[[int], bytes]) -> None:
    """Of so many places: a single one may decode to the right number of blocks by chance."""
    start, end = longest_scan(data)
    count = (end - start) // 4
    places = range(start + 10, end - count - 10, (end - start) // 10)
    found = [warning(data[:place] + garble(count) + data[place + count :]) for place in places]
    assert found.count("damaged_data") > len(found) / 2


def test_restart_markers_in_a_wrong_order_have_a_warning() -> None:
    data = KINDS["restarts"]
    assert warning(data.replace(b"\xff\xd3", b"\xff\xd6", 1)) == "damaged_data"
    third, fourth = data.index(b"\xff\xd3"), data.index(b"\xff\xd4")
    assert warning(data[:third] + data[fourth:]) == "damaged_data"


def test_damage_behind_odd_metadata_has_a_warning() -> None:
    start, end = scans(KINDS["baseline 4:2:0"])[0]
    cut = KINDS["baseline 4:2:0"][: (start + end) // 2] + END
    for name in ("JFIF of a future version", "bytes between two segments"):
        assert warning(ODD[name](cut, 0)) == "damaged_data"


def test_strict_makes_a_warning_a_failure() -> None:
    data = KINDS["progressive"][: scans(KINDS["progressive"])[0][1]] + END
    with pytest.raises(ItemError, match="'decode: lenient' keeps the picture") as caught:
        decode(data, STRICT)
    assert caught.value.item_code is ItemErrorCode.CORRUPT


@pytest.mark.parametrize("losses", [0, SUSPECT_LOSSES])
@pytest.mark.parametrize("goes_over_the_network", [False, True])
def test_a_warning_reaches_the_batch_whatever_its_way(
    tmp_path: Path, losses: int, goes_over_the_network: bool
) -> None:
    gray = KINDS["gray"]
    store = FakeStore({"sound": gray, "cut": gray[:5000] + END, "lost": gray[:5000]})
    ways: dict[str, Any] = {"network": Parcels(), "waiting": lambda: {"there": 0}}
    stage = make_stage(store, small_ring(tmp_path), **(ways if goes_over_the_network else {}))
    outcome = stage(chunk(store.items()), losses)
    batch = batch_of(outcome, *(["there"] if goes_over_the_network else []))
    assert column(batch, "warning") == [None, "damaged_data", None]
    assert codes(batch) == [None, None, "truncated"]


def test_cmyk_is_decoded_as_pillow_does() -> None:
    for kind in ("CMYK", "CMYK progressive"):
        plain = Image.open(io.BytesIO(KINDS[kind])).convert("RGB")
        assert difference(decode(KINDS[kind], LENIENT).pixels, plain) == 0


def test_no_more_segments_are_looked_at_than_a_sound_file_has() -> None:
    comments = b"\xff\xfe\0\x02" * 10**4
    for kind, expected in (("gray", None), ("progressive", "damaged_data")):
        data = KINDS[kind]
        assert warning(data[:2] + comments + data[2:]) == expected


@pytest.mark.shared_data
def test_photos_have_no_warning_and_the_odd_one_does(shared_data: Path) -> None:
    for path in sorted((shared_data / "photos").glob("*.jpg"))[::10]:
        assert warning(path.read_bytes()) is None
    odd = shared_data / "odd/images"
    assert warning((odd / "baseline_cut_eoi.jpg").read_bytes()) == "damaged_data"
    for name in ("good.jpg", "mpo.jpg", "cmyk_adobe.jpg"):
        assert warning((odd / name).read_bytes()) is None
    assert np.asarray(decode((odd / "good.jpg").read_bytes(), STRICT).pixels).any()
