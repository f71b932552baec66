"""The manifest: what is written is what is read, whatever the keys."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import parquet
from shared.errors import PermanentError
from shared.item import Item
from shared.keys import segment_key
from shared.manifest import ManifestReader, Seal, Segment, encode_seal, encode_segment
from tests.support.memory_store import MemoryStore

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60) | st.sampled_from(
    [
        "a b",
        "ä/ö",
        "#?%+",
        "line\nbreak",
        "nul\0inside",
        "x" * 1024,
        "//",
        "../..",
        "日本/語.jpg",
        '"',
    ]
)
ITEMS = st.builds(
    Item,
    key=KEYS,
    etag=st.text("0123456789abcdef-", max_size=40),
    size=st.integers(0, 5 * 2**40),
)
SEGMENTS = st.builds(
    Segment,
    first_chunk=st.integers(0, 2**31 - 100),
    chunks=st.lists(st.lists(ITEMS, min_size=1, max_size=5).map(tuple), min_size=1, max_size=5).map(
        tuple
    ),
)


def read_back(part: Segment | Seal) -> Segment | Seal | None:
    store = MemoryStore("state")
    put(store, 0, part)
    return ManifestReader(store, "state", "job").part(0)


def items(reader: ManifestReader, chunk: int) -> tuple[Item, ...]:
    return tuple(Item(**row) for row in reader.rows(chunk).to_pylist())


SEAL = Seal(chunks=6, listed=9, total_bytes=9, skipped=2)


@settings(max_examples=60, deadline=None)
@given(SEGMENTS)
def test_a_segment_is_read_as_it_was_written(segment: Segment) -> None:
    assert read_back(segment) == segment


@settings(max_examples=30, deadline=None)
@given(
    st.builds(
        Seal,
        *[st.integers(0, 2**53)] * 4,
        cancelled=st.booleans(),
    )
)
def test_a_seal_is_read_as_it_was_written(seal: Seal) -> None:
    assert read_back(seal) == seal


def test_a_seal_is_stored_under_names_that_other_builds_read() -> None:
    metadata = parquet.decode(encode_seal(SEAL)).schema.metadata
    assert json.loads(metadata[b"headrace.seal"]) == {
        **{"chunks": 6, "listed": 9, "total_bytes": 9, "skipped": 2},
        "cancelled": False,
    }


def item(number: int) -> Item:
    return Item(key=f"{number}.jpg", etag=str(number), size=number)


def put(store: MemoryStore, number: int, part: Segment | Seal) -> None:
    data = encode_seal(part) if isinstance(part, Seal) else encode_segment(part)
    store.put("state", segment_key("job", number), data)


@pytest.fixture
def store() -> MemoryStore:
    """Segments of the chunks 0, 1-2, 3-5; not sealed."""
    store = MemoryStore("state")
    for number, span in enumerate([range(1), range(1, 3), range(3, 6)]):
        put(store, number, Segment(span.start, tuple((item(chunk),) for chunk in span)))
    return store


def test_the_reader_sees_the_seal_when_it_comes(store: MemoryStore) -> None:
    reader = ManifestReader(store, "state", "job")
    assert reader.seal() is None
    assert reader.part(3) is None
    put(store, 3, SEAL)
    assert reader.seal() == SEAL
    assert reader.part(3) == SEAL


def test_nobody_reads_past_the_seal(store: MemoryStore) -> None:
    put(store, 3, SEAL)
    put(store, 4, Segment(6, ((item(6),),)))
    reader = ManifestReader(store, "state", "job")
    assert reader.seal() == SEAL
    assert reader.part(4) is None
    with pytest.raises(PermanentError, match="no chunk 6"):
        items(reader, 6)


@pytest.mark.parametrize("order", [range(6), reversed(range(6)), [4, 0, 5, 2, 1, 3, 4]])
def test_the_items_of_any_chunk_in_any_order(store: MemoryStore, order: list[int]) -> None:
    reader = ManifestReader(store, "state", "job")
    for chunk in order:
        assert items(reader, chunk) == (item(chunk),)


@pytest.mark.parametrize("chunk", [6, 10**6])
def test_a_chunk_that_is_not_written_yet_is_an_error_until_it_is(
    store: MemoryStore, chunk: int
) -> None:
    reader = ManifestReader(store, "state", "job")
    with pytest.raises(PermanentError) as caught:
        items(reader, chunk)
    assert caught.value.code == "no_such_chunk"
    put(store, 3, Segment(6, ((item(6),),)))
    assert items(reader, 6) == (item(6),)


def test_few_segments_are_kept_and_none_is_fetched_twice_in_a_row() -> None:
    class Counting(MemoryStore):
        gets = 0

        def get(self, bucket: str, key: str) -> bytes:
            self.gets += 1
            return super().get(bucket, key)

    store = Counting("state")
    for number in range(20):
        put(store, number, Segment(number, ((item(number),),)))
    reader = ManifestReader(store, "state", "job")
    for chunk in range(20):
        for _ in range(3):
            items(reader, chunk)
    assert store.gets == 20
    items(reader, 0)  # let go of long ago
    assert store.gets == 21


def test_many_threads_may_read(store: MemoryStore) -> None:
    put(store, 3, SEAL)
    reader, start = ManifestReader(store, "state", "job"), threading.Barrier(8)

    def read(_: int) -> bool:
        start.wait()
        return all(items(reader, chunk) == (item(chunk),) for chunk in range(6)) and (
            reader.seal() == SEAL
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
