"""A second store that containers reach: a MinIO on this machine, at their network's own address."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3

from shared.settings import S3Settings
from shared.storage import connect_store
from tests.support.minio_server import RunningMinio, start_minio

PATTERN = "foreign-*"
BUCKET = "foreign-photos"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """``environment`` is what a shell has whose user has logged in there: keys of a session."""

    minio: RunningMinio
    stores_file: Path

    @property
    def environment(self) -> dict[str, str]:
        client = boto3.client(
            "sts",
            endpoint_url=f"http://{self.minio.endpoint}",
            aws_access_key_id=self.minio.access_key,
            aws_secret_access_key=self.minio.secret_key,
            region_name="us-east-1",
        )
        session = client.assume_role(RoleArn="arn:minio:iam:::role/any", RoleSessionName="user")
        keys = session["Credentials"]
        return {
            "HEADRACE_STORES_FILE": str(self.stores_file),
            "AWS_ENDPOINT_URL_S3": f"http://{self.minio.endpoint}",
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }


@contextmanager
def elsewhere(directory: Path, network: str, images: dict[str, bytes]) -> Iterator[Elsewhere]:
    """Such a store with ``images`` in BUCKET, for the containers of a network of Docker's."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    inspect = ["docker", "network", "inspect", "--format", template, network]
    address = subprocess.check_output(inspect, text=True).strip()
    stores_file = directory / "stores.yaml"
    stores_file.write_text(f"stores: [{{name: elsewhere, buckets: ['{PATTERN}']}}]\n")
    minio = start_minio(directory / "minio", address)
    try:
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        store = connect_store(S3Settings(endpoint=minio.endpoint, **keys))
        store.make_bucket(BUCKET)
        for key, data in images.items():
            store.put(BUCKET, key, data)
        yield Elsewhere(minio, stores_file)
    finally:
        minio.stop()
