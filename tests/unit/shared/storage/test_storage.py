"""What the store's adapter decides by itself: names, errors, limits, and which store is asked."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from minio.credentials import Credentials

from shared.errors import HeadraceError, UsageError
from shared.settings import RingSettings, S3Settings, Settings
from shared.storage import (
    AccessDenied,
    BucketMissing,
    ClockSkewed,
    ObjectMissing,
    ObjectTooLarge,
    Store,
    StoreUnavailable,
    clients,
    connect_store,
    ensure_bucket,
    parse_s3_url,
    resolve_store,
    wait_for_store_access,
)
from shared.storage.registry import NamedStore
from shared.storage.s3 import S3ObjectStore
from tests.support.memory_store import MemoryStore

S3 = S3Settings(endpoint="127.0.0.1:9", access_key="key", secret_key="secret")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://photos", ("photos", "")),
        ("s3://photos/", ("photos", "")),
        ("s3://my.photos-2/a/b/", ("my.photos-2", "a/b/")),
        ("s3://photos/a b/%20#1?x=1", ("photos", "a b/%20#1?x=1")),
        ("s3://photos//a", ("photos", "/a")),
    ],
)
def test_an_s3_url_is_taken_literally(url: str, parts: tuple[str, str]) -> None:
    assert parse_s3_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photos",
        "/photos",
        "http://photos/a",
        "s3:/photos",
        "s3://",
        "s3:///a",
        "s3://ab",
        "s3://" + "a" * 64,
        "s3://Photos",
        "s3://my_photos",
        "s3://-photos",
        "s3://photos-",
        "s3://my..photos",
        "s3://127.0.0.1/a",
        "s3://photos\n/a",
        "s3://phötos",
    ],
)
def test_what_is_no_s3_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_s3_url(url)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [AccessDenied, BucketMissing, ClockSkewed, ObjectMissing, ObjectTooLarge, StoreUnavailable],
)
def test_errors_survive_pickling(kind: type[HeadraceError]) -> None:
    error = pickle.loads(pickle.dumps(kind("code", "message.", "hint")))
    assert type(error) is kind
    assert (error.code, str(error)) == ("code", "message. hint")


def ensure(store: Store) -> None:
    ensure_bucket(store, "bucket")


def put(store: Store) -> None:
    store.put("bucket", "key", b"data")


@contextmanager
def answering(head: bytes, seen: list[bytes] | None = None) -> Iterator[S3Settings]:
    """A server that answers every request with ``head``, and then is silent.

    ``seen``: takes the requests.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                held.append(connection)
                request = connection.recv(65536)
                if seen is not None:
                    seen.append(request)
                connection.sendall(head)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield S3.model_copy(update={"endpoint": f"127.0.0.1:{server.getsockname()[1]}"})
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


@pytest.mark.parametrize("key", ["plain", "line\nbreak"], ids=ascii)
def test_too_large_an_object_is_refused_without_its_body(key: str) -> None:
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\nETag: "x"\r\n'
        b"Last-Modified: Sat, 21 Nov 2026 08:00:00 GMT\r\n\r\n"
    )
    with answering(head) as s3, pytest.raises(ObjectTooLarge) as caught:
        S3ObjectStore(s3).get_object("bucket", key, max_bytes=10**11)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["plain", "line\nbreak"], ids=ascii)
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: "x"\r\n'
        b"Last-Modified: Sat, 21 Nov 2026 08:00:00 GMT\r\n\r\nhalf",
    ],
    ids=["before the answer", "within the body"],
)
def test_a_silent_store_is_unavailable(
    key: str, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "READ_SECONDS", 1)
    monkeypatch.setattr(clients, "RETRY_SECONDS", 0)
    with answering(head) as s3, pytest.raises(StoreUnavailable) as caught:
        S3ObjectStore(s3).get("bucket", key)
    assert s3.endpoint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"], ids=["silent", "busy"]
)
@pytest.mark.parametrize("request_of", [ensure, put], ids=["by minio", "by obstore"])
def test_a_request_with_a_single_try_is_sent_once(
    head: bytes, request_of: Callable[[Store], None]
) -> None:
    seen: list[bytes] = []
    with answering(head, seen) as s3, pytest.raises(StoreUnavailable):
        request_of(S3ObjectStore(s3, single_try_seconds=1))
    assert len(seen) == 1


def test_an_endpoint_that_is_no_store_is_unavailable() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<hr>"
    with answering(head) as s3, pytest.raises(StoreUnavailable) as caught:
        list(S3ObjectStore(s3).list("bucket"))
    assert s3.endpoint in str(caught.value)


@pytest.mark.parametrize("key", ["plain", "line\nbreak"], ids=ascii)
def test_a_store_that_refuses_our_clock_is_waited_for(key: str) -> None:
    with answering(refusing("RequestTimeTooSkewed")) as s3, pytest.raises(ClockSkewed) as caught:
        S3ObjectStore(s3).get("bucket", key)
    assert "clock" in str(caught.value)


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_wrong_keys_are_said_once_until_the_store_knows_them(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Stops(threading.Event):
        looks = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.looks += 1
            return self.looks == 3

    stopping = Stops()
    with answering(refusing(code)) as s3:
        wait_for_store_access(S3ObjectStore(s3), "bucket", stopping)
    assert stopping.looks == 3
    (record,) = caplog.records
    assert f"{s3.endpoint} refuses s3://bucket" in record.getMessage()
    assert "credentials" in record.getMessage()


def test_who_waits_for_a_clock_waits_for_nothing_else() -> None:
    stopping = threading.Event()
    with answering(refusing("AccessDenied")) as s3:
        wait_for_store_access(S3ObjectStore(s3), "bucket", stopping)
    wait_for_store_access(S3ObjectStore(S3), "bucket", stopping)  # where nobody answers


def test_the_wait_for_a_clock_ends_when_it_is_set_or_the_process_stops() -> None:
    class Skewed(MemoryStore):
        refusals = 2

        def get(self, bucket: str, key: str) -> bytes:
            if self.refusals:
                self.refusals -= 1
                raise ClockSkewed("clock_skewed", "The clock is wrong.")
            return super().get(bucket, key)

    store, stopping = Skewed("bucket"), threading.Event()
    wait_for_store_access(store, "bucket", stopping, pause_seconds=0.01)
    assert store.refusals == 0
    store.refusals = 10
    stopping.set()
    wait_for_store_access(store, "bucket", stopping)
    assert store.refusals == 9


def refusing(code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"
    head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def test_connects_once_to_the_same_store() -> None:
    assert connect_store(S3) is connect_store(S3.model_copy())
    assert connect_store(S3) is not connect_store(S3.model_copy(update={"secret_key": "other"}))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        host_id="here",
        broker_url="redis://127.0.0.1/0",
        ledger_url="redis://127.0.0.1/0",
        s3=S3,
        ring=RingSettings(directory=tmp_path, slot_bytes=(1,), slot_counts=(1,)),
        signing_keys=("key",),
        stores_file=tmp_path / "stores.yaml",
    )


STORES = """
stores:
  - name: lab
    endpoint: lab.example:9000
    secure: false
    buckets: ["lab-*", shared]
    credentials: {from: environment, access_key: LAB_KEY, secret_key: LAB_SECRET}
  - name: filed
    endpoint: s3.example
    region: eu-central-1
    buckets: ["lab-filed", "filed-?"]
    credentials: {from: file, path: PATH, profile: photos}
  - name: cloud
    endpoint: s3.example
    buckets: [cloud]
    credentials: {from: instance}
"""


def test_a_bucket_is_asked_for_where_the_first_pattern_matches(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "credentials"
    keys.write_text(
        "[default]\naws_access_key_id = no\naws_secret_access_key = no\n"
        "[photos]\naws_access_key_id = fk\naws_secret_access_key = f%s\n"
    )
    settings.stores_file.write_text(STORES.replace("PATH", str(keys)))
    monkeypatch.setenv("LAB_KEY", "lk")
    monkeypatch.setenv("LAB_SECRET", "ls")
    own = connect_store(S3)
    for bucket, endpoint in {
        "lab-1": "lab.example:9000",
        "lab-filed": "lab.example:9000",
        "shared": "lab.example:9000",
        "filed-1": "s3.example",
    }.items():
        store = resolve_store(settings, bucket)
        assert isinstance(store, S3ObjectStore)
        assert store.endpoint == endpoint
        assert resolve_store(settings, bucket) is store
    for bucket in ("photos", "shared2", "filed-10"):
        assert resolve_store(settings, bucket) is own


def test_what_an_entry_leaves_out_is_as_awss_tools_have_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    named, keys = NamedStore(name="aws", buckets=("a",)), Credentials("key", "long secret")
    s3 = named.s3(keys)
    assert (s3.endpoint, s3.region, s3.secure) == ("s3.us-east-1.amazonaws.com", "us-east-1", True)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert named.s3(keys).endpoint == "s3.eu-north-1.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    s3 = named.s3(keys)
    assert (s3.endpoint, s3.secure) == ("minio.example:9000", False)
    assert (s3.region, s3.ca_file) == ("eu-north-1", tmp_path / "ca.pem")


def test_a_store_beyond_this_machine_with_default_keys_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.stores_file.write_text(STORES.replace("lab.example", "guarded.example"))
    for name in ("LAB_KEY", "LAB_SECRET"):
        monkeypatch.setenv(name, "minioadmin")
    with pytest.raises(UsageError, match=r"'lab'.*default") as caught:
        resolve_store(settings, "lab-1")
    assert "\n" not in str(caught.value)


def test_missing_credentials_are_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = STORES.replace("PATH", str(tmp_path / "nowhere")).replace("example", "missing")
    settings.stores_file.write_text(stores)
    monkeypatch.delenv("LAB_KEY", raising=False)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")
    with pytest.raises(UsageError, match=r"'lab'.*LAB_KEY"):
        resolve_store(settings, "lab-1")
    with pytest.raises(UsageError, match=r"'filed'.*nowhere"):
        resolve_store(settings, "filed-1")
    with pytest.raises(UsageError, match=r"'cloud'.*refused") as caught:
        resolve_store(settings, "cloud")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stores: [{name: a, buckets: [a], endpont: b}]", "endpont"),
        ("stores: [", "line 1"),
        ("store: []", "store"),
        ("- a", "dictionary|instance"),
        (STORES.replace("from: instance", "from: nowhere"), "credentials"),
        (STORES.replace("endpoint: s3.example", "endpoint: https://s3.example"), "endpoint"),
    ],
)
def test_a_wrong_stores_file_says_where(
    settings: Settings, tmp_path: Path, text: str, said: str
) -> None:
    settings.stores_file.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        resolve_store(settings, "photos")
    assert str(settings.stores_file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_settings_store_serves_where_no_file_is(settings: Settings) -> None:
    assert resolve_store(settings, "photos") is connect_store(S3)
