"""A signed link opens one object for a while, without credentials, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
import urllib3

from shared.storage import Store
from tests.support.waiting import wait_for

KEYS = [
    *("plain/a.jpg", "two words/ a b.jpg", "nfd/cafe\u0301.jpg", "写真/猫.jpg", "hash#1.jpg"),
    *("what?x=1&y=2.jpg", "100%.jpg", "a%2Fb.jpg", "a+b.jpg", "line\nbreak.jpg"),
    *('<tag attribute="\'">.jpg', "star*~[bracket]{brace}^`|:@!$,().jpg"),
]


def get(link: str) -> tuple[int, bytes]:
    answer = urllib3.request("GET", link, retries=False)
    return answer.status, answer.data


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_a_link_needs_no_keys(store: Store, bucket: str, key: str) -> None:
    store.put(bucket, key, b"a picture")
    assert get(store.signed_url(bucket, key, timedelta(hours=1))) == (200, b"a picture")


def test_a_link_is_for_one_object(store: Store, bucket: str) -> None:
    for key in ("a.jpg", "b.jpg"):
        store.put(bucket, key, b"a picture")
    link = store.signed_url(bucket, "a.jpg", timedelta(hours=1))
    assert get(link.replace("a.jpg", "b.jpg"))[0] == 403


def test_a_link_ends(store: Store, bucket: str) -> None:
    store.put(bucket, "a.jpg", b"a picture")
    link = store.signed_url(bucket, "a.jpg", timedelta(seconds=1))
    wait_for(lambda: get(link)[0] == 403, what="the link is refused")
