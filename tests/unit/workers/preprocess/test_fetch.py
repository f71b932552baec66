"""Fetching: what each answer of the store means for the item, and whose fault it is not."""

from __future__ import annotations

import threading

import pytest

from shared.errors import ItemErrorCode, PermanentError, TransientError, UsageError
from shared.item import Item, ItemFailure
from shared.storage import AccessDenied, BucketMissing, Store, StoreUnavailable, UnsupportedKey
from tests.support.fake_store import FakeStore
from workers.preprocess.fetch import Fetcher, Payload, by_bytes

LIMIT = 100


def fetch(store: Store, *items: Item, stopping: threading.Event | None = None) -> list[Payload]:
    fetcher = Fetcher(lambda _: store, stopping or threading.Event(), patience_seconds=20)
    return fetcher.fetch("photos", items, LIMIT)


def code(payload: Payload) -> ItemErrorCode:
    assert isinstance(payload, ItemFailure)
    assert payload.error_message
    return payload.error_code


def test_bytes_come_in_the_order_of_the_items() -> None:
    store = FakeStore({f"{n}": b"%d" % n for n in range(50)})
    assert fetch(store, *store.items()) == [b"%d" % n for n in range(50)]


def test_each_kind_of_failure_has_its_code_and_spares_its_neighbours() -> None:
    store = FakeStore({"good": b"bytes", "grown": b"x" * 101, "denied": b"x", "refused": b"x"})
    store.errors["denied"] = [AccessDenied("access_denied", "No.")]
    store.errors["refused"] = [PermanentError("store_refused", "Not in this class.")]
    store.errors["odd"] = [UnsupportedKey("unsupported_key", "No request for this.")]
    store.errors["no bucket"] = [BucketMissing("bucket_missing", "No bucket.")]
    store.errors["defect"] = [KeyError("content-length")]
    items = {
        "good": None,
        "empty": ItemErrorCode.EMPTY,
        "huge": ItemErrorCode.TOO_LARGE,
        "grown": ItemErrorCode.TOO_LARGE,
        "gone": ItemErrorCode.MISSING,
        "no bucket": ItemErrorCode.MISSING,
        "denied": ItemErrorCode.UNREADABLE,
        "refused": ItemErrorCode.UNREADABLE,
        "odd": ItemErrorCode.UNREADABLE,
        "defect": ItemErrorCode.UNREADABLE,
    }
    sizes = {"empty": 0, "huge": LIMIT + 1}
    listed = [Item(key=key, etag="", size=sizes.get(key, 5)) for key in items]
    payloads = fetch(store, *listed)
    assert payloads[0] == b"bytes"
    assert [code(payload) for payload in payloads[1:]] == list(items.values())[1:]
    assert not {"empty", "huge"} & set(store.calls)  # the listing said enough


def test_an_object_that_was_replaced_is_changed() -> None:
    store = FakeStore({"a": b"new"})
    old, unknown = (Item(key="a", etag=etag, size=3) for etag in ("old", ""))
    payloads = fetch(store, old, unknown)
    assert code(payloads[0]) is ItemErrorCode.CHANGED
    assert payloads[1] == b"new"  # a store that lists no ETags


def unavailable(times: int) -> list[Exception]:
    return [StoreUnavailable("store_unavailable", "Not now.") for _ in range(times)]


def test_a_store_that_comes_back_costs_no_item() -> None:
    store = FakeStore({"a": b"1", "b": b"2"})
    store.errors["a"] = unavailable(3)
    assert fetch(store, *store.items()) == [b"1", b"2"]
    assert store.calls.count("a") == 4


def test_a_store_that_stays_away_fails_no_item() -> None:
    store = FakeStore({f"{n}": b"1" for n in range(80)})
    for key in store.objects:
        store.errors[key] = unavailable(100)
    fetcher = Fetcher(lambda _: store, threading.Event(), patience_seconds=0.2)
    with pytest.raises(TransientError):
        fetcher.fetch("photos", store.items(), LIMIT)


def test_an_object_that_stays_away_while_others_come_has_timed_out() -> None:
    store = FakeStore({"a": b"1", "slow": b"2"})
    store.errors["slow"] = unavailable(100)
    fetcher = Fetcher(lambda _: store, threading.Event(), patience_seconds=0.2)
    payloads = fetcher.fetch("photos", store.items(), LIMIT)
    assert payloads[0] == b"1"
    assert code(payloads[1]) is ItemErrorCode.TIMED_OUT


def test_what_came_before_the_store_went_away_is_no_evidence() -> None:
    store = FakeStore({"a": b"1", "b": b"2"})
    fetcher = Fetcher(lambda _: store, threading.Event(), patience_seconds=0.2)
    fetcher.fetch("photos", store.items(["a"]), LIMIT)
    store.errors = {"a": unavailable(100), "b": unavailable(100)}
    with pytest.raises(TransientError):
        fetcher.fetch("photos", store.items(["b"]), LIMIT)


def test_no_credentials_for_the_bucket_is_said_of_each_item() -> None:
    def refuse(bucket: str) -> Store:
        raise UsageError("no_credentials", f"No credentials for {bucket}.")

    item = Item(key="a", etag="e", size=1)
    (payload,) = Fetcher(refuse, threading.Event()).fetch("photos", [item], LIMIT)
    assert code(payload) is ItemErrorCode.UNREADABLE


def test_messages_are_one_line_that_fits() -> None:
    store = FakeStore({"a": b"1"})
    store.errors["a"] = [AccessDenied("access_denied", "a\nb\0\ud800 " + "x" * 600)]
    (payload,) = fetch(store, *store.items())
    assert isinstance(payload, ItemFailure)
    assert payload.error_message.startswith("a b xxx")
    assert len(payload.error_message) == 500
    assert payload.model_dump_json()


def test_groups_are_bounded_in_bytes_and_lose_nothing() -> None:
    sizes = [5, 5, 30, 1, 9, 1, 0]
    items = [Item(key=f"{n}", etag="e", size=size) for n, size in enumerate(sizes)]
    groups = [[item.size for item in group] for group in by_bytes(items, limit=10)]
    assert groups == [[5, 5], [30], [1, 9], [1, 0]]
