"""Sessions of MinIO's own, which come to their end while the store is being read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import boto3
import pytest
from minio.credentials import Credentials

from shared.settings import S3Settings
from shared.storage import AccessDenied, CredentialsExpired, Store
from shared.storage.credentials import FileCredentials, RenewedKeys
from shared.storage.s3 import S3ObjectStore
from tests.support.injection.strict_store import StrictStore
from tests.support.waiting import wait_for

KEYS = ("plain", "odd\nkey")
ONLY_READ = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::*"],
        }
    ],
}


@pytest.fixture
def new_session(s3: S3Settings) -> Callable[[], Credentials]:
    """Asks MinIO for a session that may read; it lasts for the shortest time there is."""
    client = boto3.client(
        "sts",
        endpoint_url=f"http://{s3.endpoint}",
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
    )

    def new() -> Credentials:
        answer = client.assume_role(
            RoleArn="arn:minio:iam:::role/any",
            RoleSessionName="reader",
            DurationSeconds=900,
            Policy=json.dumps(ONLY_READ),
        )["Credentials"]
        return Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])

    return new


@pytest.fixture
def strict(s3: S3Settings) -> Iterator[StrictStore]:
    with StrictStore(int(s3.endpoint.rpartition(":")[2])) as strict:
        yield strict


def write(path: Path, session: Credentials) -> None:
    path.write_text(
        f"[default]\naws_access_key_id = {session.access_key}\n"
        f"aws_secret_access_key = {session.secret_key}\n"
        f"aws_session_token = {session.session_token}\n"
    )


def test_a_session_reads_and_may_do_no_more(
    store: Store, s3: S3Settings, bucket: str, new_session: Callable[[], Credentials]
) -> None:
    session = S3ObjectStore(s3, RenewedKeys(new_session))
    for key in KEYS:
        store.put(bucket, key, b"x")
        assert session.get(bucket, key) == b"x"
        with pytest.raises(AccessDenied):
            session.put(bucket, key, b"y")
    assert {info.key for info in session.list(bucket)} == set(KEYS)


def test_a_session_that_has_ended_is_replaced_by_the_one_that_the_file_has_now(
    store: Store,
    strict: StrictStore,
    s3: S3Settings,
    bucket: str,
    new_session: Callable[[], Credentials],
    tmp_path: Path,
) -> None:
    for key in KEYS:
        store.put(bucket, key, b"x")
    file, sessions = tmp_path / "credentials", [new_session() for _ in range(3)]
    write(file, sessions[0])
    near = s3.model_copy(update={"endpoint": f"127.0.0.1:{strict.port}"})
    pause = Pause()
    foreign = S3ObjectStore(near, RenewedKeys(FileCredentials(path=file).read, pause))
    operations: list[Callable[[], object]] = [
        lambda: foreign.get(bucket, "plain"),
        lambda: foreign.get(bucket, "odd\nkey"),
        lambda: list(foreign.list(bucket)),
    ]
    for operation in operations:
        operation()
    for old, new in pairwise(sessions):
        strict.ended.add(str(old.session_token))
        for operation in operations:  # nobody has renewed it yet
            pause.now += 2
            with pytest.raises(CredentialsExpired, match="injected"):
                operation()
        write(file, new)
        pause.now += 2
        with pytest.raises(CredentialsExpired, match="renewed"):
            operations[0]()
        for operation in operations:
            operation()
        assert strict.uses[str(new.session_token)] >= len(operations)


class Pause:
    """A clock by which a refused session may be read again."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_that_minio_forgot_is_waited_for(s3: S3Settings, bucket: str) -> None:
    forgotten = Credentials("A" * 20, "s" * 40, "no session of this server")
    store = S3ObjectStore(s3, RenewedKeys(lambda: forgotten))
    for key in KEYS:
        with pytest.raises(CredentialsExpired):
            store.get(bucket, key)
    with pytest.raises(CredentialsExpired):
        list(store.list(bucket))


def more_than(got: list[bytes]) -> Callable[[], bool]:
    enough = len(got) + 20
    return lambda: len(got) > enough


def test_threads_that_read_on_see_no_more_than_a_moment_of_it(
    store: Store,
    strict: StrictStore,
    s3: S3Settings,
    bucket: str,
    new_session: Callable[[], Credentials],
) -> None:
    """The source gives another session as soon as it is asked, as a machine's does."""
    store.put(bucket, "key", b"x")
    near = s3.model_copy(update={"endpoint": f"127.0.0.1:{strict.port}"})
    foreign = S3ObjectStore(near, RenewedKeys(new_session))
    ended = threading.Event()
    got: list[bytes] = []

    def read_on() -> None:
        while not ended.is_set():
            try:
                got.append(foreign.get(bucket, "key"))
            except CredentialsExpired:
                ended.wait(0.05)

    threads = [threading.Thread(target=read_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            wait_for(more_than(got), what="reads")
            strict.ended |= set(strict.uses)
        wait_for(more_than(got), what="reads")
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert len(strict.uses) == 3
