"""Links in place of s3:// addresses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from producer.exports.links import link_time, local_host, with_links
from shared.errors import UsageError
from shared.settings import S3Settings
from shared.storage import connect_store
from tests.support import labelled_rows
from tests.support.labelled_rows import SCHEMA, failed, row


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, timedelta(days=7)),
        ("7d", timedelta(days=7)),
        ("168h", timedelta(days=7)),
        ("90m", timedelta(minutes=90)),
        ("1s", timedelta(seconds=1)),
    ],
)
def test_how_long_links_work(text: str | None, expected: timedelta) -> None:
    assert link_time(True, text) == expected


@pytest.mark.parametrize(
    "text", ["", "0s", "8d", "169h", "7", "d", "-1d", "1.5d", "7 d", "9999999d"]
)
def test_no_other_times(text: str) -> None:
    with pytest.raises(UsageError, match="--expires"):
        link_time(True, text)


def test_a_time_without_links_is_refused() -> None:
    assert link_time(False, None) is None
    with pytest.raises(UsageError, match="--links signed"):
        link_time(False, "7d")


def test_each_uri_becomes_a_link_and_nothing_is_sent() -> None:
    s3 = S3Settings(endpoint="store.example:1", access_key="k" * 20, secret_key="secret" * 6)
    store, time = connect_store(s3), timedelta(hours=1)
    tables = labelled_rows.tables([row(0), failed(1)])
    (found,) = with_links(tables, store, "photos", time)
    assert found.schema.equals(SCHEMA)
    for link, key in zip(found["uri"].to_pylist(), found["key"].to_pylist(), strict=True):
        assert link.startswith(f"http://store.example:1/photos/{key}?")
        assert "X-Amz-Expires=3600" in link
        assert "secret" not in link
        assert local_host(link) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0"])
def test_links_to_this_machine_are_known(host: str) -> None:
    assert local_host(f"http://{host}:8333/photos/a.jpg") == host.strip("[]")
    assert local_host("http://10.0.0.7:8333/127.0.0.1/a.jpg") is None
