"""Trying what a role may do: each command and request, with the role's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from shared.settings import S3Settings
from tests.support.rights import LISTINGS, OBJECTS, VERBS


def allowed(client: Any, commands: Iterable[str]) -> list[str]:
    """Those for which the broker does not say that permission is missing."""
    passed = []
    for command in commands:
        try:
            client.execute_command(*command.split())
        except redis.exceptions.NoPermissionError:
            continue
        passed.append(command)
    return passed


def client_of(s3: S3Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://{s3.endpoint}",
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def is_done(action: Any, **arguments: Any) -> bool:
    """Did the store do it? Refusals are the only other answer that passes."""
    try:
        action(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return False
    return True


def tried(
    store: Any, put: Callable[[str, dict[str, bytes]], object]
) -> dict[str, set[tuple[str, str]]]:
    """Everything that a role's client may do, of all that there is to do; ``put`` restores."""
    done: dict[str, set[tuple[str, str]]] = {verb: set() for verb in VERBS}
    for bucket, prefix in LISTINGS:
        if is_done(store.list_objects_v2, Bucket=bucket, Prefix=prefix):
            done["list"].add((bucket, prefix))
    for bucket, key in OBJECTS:
        where = {"Bucket": bucket, "Key": key}
        if is_done(store.get_object, **where):
            done["get"].add((bucket, key))
        if is_done(store.put_object, **where, Body=b"as it was"):
            done["put"].add((bucket, key))
        if is_done(store.delete_object, **where):
            done["delete"].add((bucket, key))
            put(bucket, {key: b"as it was"})
    return done
