"""The lister: every key once in the manifest, despite interruptions and other producers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.lead import lister as listers
from producer.lead.lister import Lister, ManifestTaken, Stopped
from producer.sources.listing import BucketListing, Listing
from producer.sources.prefetch import Idle, prefetched
from shared.errors import HeadraceError, TransientError
from shared.item import Item
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.keys import segment_key
from shared.manifest import ManifestReader, Seal, Segment, encode_seal, encode_segment
from shared.storage import BucketMissing
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.waiting import wait_for

DOWN = TransientError("store_unavailable", "The store does not answer.")


def make_spec(**changes: object) -> JobSpec:
    return JobSpec.model_validate(
        {
            "job_id": "job",
            "bucket": "input",
            "output_bucket": "results",
            "chunk_items": 2,
            "pipeline": samples.pipeline(),
            "pipeline_sha256": "",
            "headrace_version": "0",
            **changes,
        }
    )


def item(key: str) -> Item:
    return Item(key=key, etag="e", size=1)


@dataclass
class Given:
    """A listing that is given: items, or functions to call when it comes to them."""

    entries: Iterable[Item | Callable[[], object]]
    skipped: int = 0

    def __iter__(self) -> Iterator[Item]:
        for entry in self.entries:
            if isinstance(entry, Item):
                yield entry
            else:
                entry()


@dataclass
class Bench:
    """One job in a store in memory, and listers of it."""

    scratch: Path
    store: MemoryStore = field(default_factory=lambda: MemoryStore("state", "input"))
    spec: JobSpec = field(default_factory=make_spec)

    def lister(self, listing: Listing | None = None) -> Lister:
        chosen = listing or BucketListing(self.store, self.spec)
        jobs = JobStore(self.store, "state")
        return Lister(self.spec, jobs, lambda: chosen, self.scratch)

    def upload(self, *keys: str) -> None:
        for key in keys:
            self.store.put("input", key, b"" if key.endswith("/") else b"x")

    def segments(self) -> list[Segment]:
        reader = ManifestReader(self.store, "state", "job")
        found = []
        while isinstance(part := reader.part(len(found)), Segment):
            found.append(part)
        return found

    def keys(self) -> list[str]:
        return [i.key for segment in self.segments() for chunk in segment.chunks for i in chunk]

    def seal(self) -> Seal | None:
        return ManifestReader(self.store, "state", "job").seal()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@contextmanager
def in_thread(action: Callable[[], object]) -> Iterator[list[object]]:
    """Run ``action`` beside the test; what it returned or raised is in the list at the end."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(action())
        except (HeadraceError, Stopped) as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield outcome
    thread.join(10)
    assert not thread.is_alive()


def test_a_bucket_becomes_dense_chunks_in_growing_segments(bench: Bench) -> None:
    bench.upload(*(f"{number:03d}.jpg" for number in range(51)))
    seal = bench.lister().run()
    assert seal == bench.seal() == Seal(chunks=26, listed=51, total_bytes=51, skipped=0)
    assert [len(segment.chunks) for segment in bench.segments()] == [1, 2, 8, 15]
    assert [segment.first_chunk for segment in bench.segments()] == [0, 1, 3, 11]
    assert bench.keys() == [f"{number:03d}.jpg" for number in range(51)]


def test_segments_stop_growing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listers, "MAX_SEGMENT_ITEMS", 11)
    bench.upload(*(f"{number:03d}.jpg" for number in range(40)))
    bench.lister().run()
    assert [len(segment.chunks) for segment in bench.segments()] == [1, 2, 5, 5, 5, 3]


@pytest.mark.parametrize(
    ("chunk_items", "expected"),
    [(1, [1] * 40), (3, [1] + [3] * 13), (10, [2, 10, 10, 10, 8]), (64, [16, 24])],
)
def test_only_the_first_chunk_and_the_last_are_small(
    bench: Bench, chunk_items: int, expected: list[int]
) -> None:
    bench.spec = make_spec(chunk_items=chunk_items)
    bench.upload(*(f"{number:03d}.jpg" for number in range(40)))
    bench.lister().run()
    chunks = [len(chunk) for segment in bench.segments() for chunk in segment.chunks]
    assert chunks == expected
    assert bench.spec.items_before(len(chunks) - 1) == sum(chunks[:-1])


def test_patterns_prefix_limit_and_folder_markers(bench: Bench) -> None:
    bench.upload(
        "a/", "a/1.jpg", "a/2.png", "a/b/", "a/b/3.jpg", "a/b/4.jpg", "c/5.jpg", "a/x.jpg/"
    )
    bench.spec = make_spec(prefix="a/", include=("*.jpg*",), exclude=("*/4.*",))
    seal = bench.lister().run()
    assert bench.keys() == ["a/1.jpg", "a/b/3.jpg"]
    assert (seal.listed, seal.skipped) == (2, 1)  # the markers that no pattern kept out


def test_an_empty_listing_is_sealed(bench: Bench) -> None:
    assert bench.lister().run() == Seal(chunks=0, listed=0, total_bytes=0, skipped=0)


def test_the_first_chunk_is_written_before_the_listing_ends(bench: Bench) -> None:
    hold = threading.Event()
    lister = bench.lister(Given([item("1"), item("2"), hold.wait, item("3")]))
    with in_thread(lister.run):
        wait_for(bench.keys, what="the first chunk")
        assert bench.keys() == ["1"]
        assert bench.seal() is None
        hold.set()
    assert bench.keys() == ["1", "2", "3"]
    assert bench.seal() is not None


def test_a_slow_listing_keeps_nothing_waiting(bench: Bench) -> None:
    hold = threading.Event()
    lister = bench.lister(Given([item("1"), hold.wait, item("2")]))
    with in_thread(lister.run):
        wait_for(bench.keys, what="less than a chunk", deadline_seconds=5)
        assert bench.keys() == ["1"]
        hold.set()
    assert bench.keys() == ["1", "2"]


@pytest.mark.parametrize("ending", ["stop", "cancel"])
def test_a_listing_that_hangs_can_be_ended(bench: Bench, ending: str) -> None:
    hold = threading.Event()
    lister = bench.lister(Given([*map(item, "123"), hold.wait]))
    began = time.monotonic()
    with in_thread(lister.run) as outcome:
        wait_for(bench.keys, what="the first chunk")
        began = time.monotonic()
        getattr(lister, ending)()
    assert time.monotonic() - began < 1
    hold.set()
    if ending == "stop":
        assert isinstance(outcome[0], Stopped)
        assert bench.seal() is None
    else:
        kept = len(bench.keys())
        assert outcome[0] == bench.seal()
        assert bench.seal() == Seal(
            chunks=len(bench.segments()), listed=kept, total_bytes=kept, skipped=0, cancelled=True
        )


def test_a_job_cancelled_before_it_is_listed_is_sealed_empty(bench: Bench) -> None:
    bench.upload("1")
    lister = bench.lister()
    lister.cancel()
    assert lister.run() == Seal(chunks=0, listed=0, total_bytes=0, skipped=0, cancelled=True)


KEYS = [f"{number:02d}" for number in range(24)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(KEYS), unique=True, min_size=1),
    st.lists(st.sampled_from(KEYS), unique=True),
    st.integers(0, 24),
    st.integers(1, 30) | st.none(),
)
def test_an_interrupted_listing_continues_whatever_changed(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[str],
    after: list[str],
    interrupted_at: int,
    limit: int | None,
) -> None:
    """In any order, and with keys gone and new ones come: what is in the manifest is there once."""
    bench = Bench(tmp_path_factory.mktemp("scratch"), spec=make_spec(limit=limit))

    def die() -> None:
        raise BucketMissing("bucket_missing", "It ends here.")

    entries: list[Item | Callable[[], object]] = [item(key) for key in before]
    entries.insert(interrupted_at, die)
    try:
        bench.lister(Given(entries)).run()
    except BucketMissing:
        pass
    written, sealed = bench.keys(), bench.seal()
    seal = bench.lister(Given([item(key) for key in after])).run()
    keys = bench.keys()
    assert keys[: len(written)] == written
    assert max(Counter(keys).values(), default=0) <= 1
    assert seal.listed == len(keys)
    if sealed is None:
        everything = {*written, *after}
        assert set(keys) <= everything
        assert len(keys) == len(everything) if limit is None else len(keys) <= limit
        assert limit is None or len(keys) == min(limit, len(everything))
    else:
        assert (seal, keys) == (sealed, written)
    chunks = [chunk for segment in bench.segments() for chunk in segment.chunks]
    assert len(chunks) == seal.chunks
    assert list(bench.scratch.iterdir()) == []


def test_who_is_refused_a_segment_begins_again(bench: Bench) -> None:
    """Another producer, which saw another bucket, is ahead by one segment."""

    def other() -> None:
        taken = Segment(0, ((item("x"), item("2")),))
        bench.store.put("state", segment_key("job", 0), encode_segment(taken))

    lister = bench.lister(Given([other, *map(item, "123")]))
    with pytest.raises(ManifestTaken):
        lister.run()
    assert bench.keys() == ["x", "2"]
    bench.lister(Given(map(item, "123"))).run()
    assert bench.keys() == ["x", "2", "1", "3"]


def test_the_seal_and_a_segment_contend_for_one_number(bench: Bench) -> None:
    theirs = Seal(chunks=0, listed=0, total_bytes=0, skipped=0, cancelled=True)

    def other() -> None:
        bench.store.put("state", segment_key("job", 0), encode_seal(theirs))

    lister = bench.lister(Given([other, item("1")]))
    with pytest.raises(ManifestTaken):
        lister.run()
    assert lister.run() == theirs  # from the bucket, again
    assert bench.keys() == []


def test_racing_listers_write_one_manifest(bench: Bench) -> None:
    bench.upload(*(f"{number:04d}" for number in range(400)))

    def list_it() -> Seal:
        while True:
            try:
                return bench.lister().run()
            except ManifestTaken:
                continue

    with in_thread(list_it) as first, in_thread(list_it) as second, in_thread(list_it) as third:
        pass
    assert first == second == third
    assert bench.keys() == [f"{number:04d}" for number in range(400)]


def test_a_write_whose_answer_was_lost_is_no_defeat(bench: Bench) -> None:
    class Forgetful(MemoryStore):
        failing = True

        def create(self, bucket: str, key: str, data: bytes) -> bool:
            created = super().create(bucket, key, data)
            if created and self.failing:
                self.failing = False
                raise DOWN
            return created

    bench.store = Forgetful("state", "input")
    bench.upload("1", "2", "3")
    assert bench.lister().run().listed == 3
    assert bench.keys() == ["1", "2", "3"]


def test_an_outage_in_the_middle_is_waited_out(bench: Bench) -> None:
    failures = iter([DOWN, DOWN])

    def fail() -> None:
        for error in failures:
            raise error

    listing = Given([item("1"), item("2"), item("3"), fail, item("4")])
    assert bench.lister(listing).run().listed == 4
    assert bench.keys() == ["1", "2", "3", "4"]


def test_a_lister_that_waits_for_a_store_can_be_stopped(bench: Bench) -> None:
    tried = threading.Event()

    def fail() -> None:
        tried.set()
        raise DOWN

    lister = bench.lister(Given([fail]))
    with in_thread(lister.run) as outcome:
        assert tried.wait(5)
        lister.stop()
    assert isinstance(outcome[0], Stopped)


def test_a_bucket_that_is_not_there_is_an_error(bench: Bench) -> None:
    del bench.store.buckets["input"]
    with pytest.raises(BucketMissing):
        bench.lister().run()
    assert bench.seal() is None


def test_the_pump_stays_a_bounded_way_ahead_and_ends_when_left() -> None:
    taken = 0
    gone = threading.Event()

    def source() -> Iterator[int]:
        nonlocal taken
        try:
            while True:
                taken += 1
                yield taken
        finally:
            gone.set()

    values = prefetched(source())
    assert next(values) == 1
    wait_for(lambda: taken > 2000, what="the pump being ahead")
    assert taken < 2010
    values.close()
    assert gone.wait(5)


def test_the_pump_says_when_nothing_comes() -> None:
    hold = threading.Event()

    def source() -> Iterator[int]:
        hold.wait()
        yield 1

    values = prefetched(source())
    assert isinstance(next(values), Idle)
    hold.set()
    assert [value for value in values if isinstance(value, int)] == [1]
