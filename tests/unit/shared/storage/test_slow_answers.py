"""A server that trickles: nobody is held by it, and what comes at a fair pace comes whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.settings import S3Settings
from shared.storage import StoreUnavailable
from shared.storage.s3 import S3ObjectStore

PART = b"x" * 2**14
PARTS = 14
ERROR = b"<Error><Code>NoSuchKey</Code></Error>" * 10


class Trickling(BaseHTTPRequestHandler):
    """An object comes in parts, five a second; that there is none, a byte at a time.

    So does that it is busy, which is what a caller that asks for ``busy`` is told.
    """

    def do_GET(self) -> None:
        is_there = "there" in self.path
        refusal = 503 if "busy" in self.path else 404
        self.send_response(200 if is_there else refusal)
        self.send_header("ETag", '"a"')
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")
        self.send_header("Content-Length", str(len(PART) * PARTS if is_there else len(ERROR)))
        self.end_headers()
        pieces = [PART] * PARTS if is_there else [ERROR[n : n + 1] for n in range(len(ERROR))]
        for piece in pieces:
            try:
                self.wfile.write(piece)
            except OSError:
                return
            time.sleep(0.2)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def trickling() -> Iterator[S3ObjectStore]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Trickling)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"127.0.0.1:{server.server_port}"
    store = S3ObjectStore(S3Settings(endpoint=endpoint, access_key="a", secret_key="b"))
    store.answer_seconds = 1
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("key", ["missing", "missing\n"])
def test_an_error_that_trickles_is_an_outage(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.storage.pace.WINDOW_SECONDS", 1.0)
    with trickling() as store:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="timed out"):
            store.get("photos", key)
        assert time.monotonic() - began < len(ERROR) * 0.2 / 2


def test_a_refusal_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is sent again, three times; only the last answer is of interest."""
    monkeypatch.setattr("shared.storage.pace.WINDOW_SECONDS", 1.0)
    with trickling() as store:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="timed out"):
            list(store.list("photos", "busy"))
        assert time.monotonic() - began < len(ERROR) * 0.2 / 2


def test_an_object_that_takes_longer_than_an_answer_comes_whole() -> None:
    with trickling() as store:
        assert store.get("photos", "there") == PART * PARTS
