"""Objects with a Content-Encoding: gzip is unpacked within bounds, the rest is named."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
import zlib

import pytest

from shared.errors import ItemError, ItemErrorCode
from shared.staging import StagingRing
from tests.support.fake_store import FakeStore
from tests.support.gray_squares import batch_of, chunk, codes, column, make_stage, rows, small_ring
from tests.support.pictures import encoded, picture
from workers.preprocess.encoding import Encoded, as_encoded
from workers.preprocess.fetch import Fetcher
from workers.runtime import Forward

PICTURE = encoded(picture(), "JPEG")
PACKED = gzip.compress(PICTURE)
LIMIT = 10**6


def plain(data: bytes, header: str = "gzip", limit: int = LIMIT) -> bytes:
    found = as_encoded(data, header)
    return found.plain(limit) if isinstance(found, Encoded) else found


def failure(data: bytes, limit: int = LIMIT) -> ItemError:
    with pytest.raises(ItemError) as caught:
        plain(data, limit=limit)
    return caught.value


@pytest.mark.parametrize(
    "header",
    ["gzip", "GZIP", "x-gzip", " gzip ", "gzip, aws-chunked", "aws-chunked,gzip", "identity,gzip"],
)
def test_gzip_is_unpacked_however_it_is_written(header: str) -> None:
    assert plain(PACKED, header) == PICTURE


@pytest.mark.parametrize(
    "header", ["", "identity", "aws-chunked", "utf-8", "image/jpeg", ",", "br"]
)
def test_without_gzip_bytes_stay_as_they_are(header: str) -> None:
    assert plain(PACKED, header) == PACKED


@pytest.mark.parametrize("header", ["gzip", "br", "zstd", "gzip, br"])
def test_bytes_that_are_not_packed_are_taken_as_they_are(header: str) -> None:
    assert plain(PICTURE, header) == PICTURE


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(PICTURE[:500]) + gzip.compress(b"") + gzip.compress(PICTURE[500:]),
        PACKED + bytes(512),
        PACKED + b"junk",
        gzip.compress(PICTURE, 0),
        b"".join(gzip.compress(PICTURE[place : place + 1]) for place in range(len(PICTURE))),
    ],
    ids=["members", "zeros behind", "junk behind", "stored", "a member a byte"],
)
def test_all_members_are_unpacked_and_junk_behind_them_is_ignored(data: bytes) -> None:
    assert plain(data) == PICTURE


def test_one_layer_is_unpacked() -> None:
    assert plain(gzip.compress(PACKED)) == PACKED


def test_what_ends_early_is_truncated_and_what_is_garbled_corrupt() -> None:
    for kept in (3, 12, len(PACKED) // 2, len(PACKED) - 1):
        assert failure(PACKED[:kept]).item_code is ItemErrorCode.TRUNCATED
    garbled = PACKED[:-8] + bytes(4) + PACKED[-4:]
    assert failure(garbled).item_code is ItemErrorCode.CORRUPT
    assert failure(PACKED[:10] + b"\xff" * 50).item_code is ItemErrorCode.CORRUPT


def test_the_bound_is_the_pipelines_and_is_named() -> None:
    assert plain(PACKED, limit=len(PICTURE)) == PICTURE
    error = failure(PACKED, limit=len(PICTURE) - 1)
    assert error.item_code is ItemErrorCode.TOO_LARGE
    assert "max_object_bytes" in error.message


def test_a_bomb_costs_no_more_memory_than_its_bound() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(512)) + packer.flush()
    tracemalloc.start()
    try:
        assert failure(bomb).item_code is ItemErrorCode.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()


def test_members_without_end_are_refused() -> None:
    assert failure(gzip.compress(b"") * 10**5).item_code is ItemErrorCode.UNSUPPORTED


def test_the_stage_unpacks_and_names_what_it_cannot(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ring: StagingRing = small_ring(tmp_path_factory.mktemp("ring"))
    gray = encoded(picture(8, 8).convert("L").point(lambda _: 2))
    packed = gzip.compress(gray)
    store = FakeStore({"gzip": packed, "lie": gray, "br": b"\x0bpacked", "half": packed[:-4]})
    store.encodings |= {"gzip": "GZip", "lie": "br", "br": "br", "half": "gzip"}
    outcome = make_stage(store, ring)(chunk(store.items()))
    batch = batch_of(outcome)
    assert codes(batch) == [None, None, "unsupported", "truncated"]
    assert "br" in column(batch, "error_message")[2]
    assert isinstance(outcome, Forward)
    outcome.release()
    assert list(rows(ring, batch)) == [2, 2]


def test_sizes_and_etags_are_those_of_the_stored_bytes() -> None:
    store = FakeStore({"a": PACKED})
    store.encodings["a"] = "gzip"
    fetcher = Fetcher(lambda _: store, threading.Event())
    assert fetcher.fetch("photos", store.items(), len(PACKED)) == [Encoded(PACKED, ("gzip",))]
