"""Filling a bucket quickly: many puts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import obstore

from shared.settings import S3Settings
from shared.storage.clients import bucket_client
from shared.storage.credentials import static_keys

PUTS_AT_ONCE = 32


def put_all(s3: S3Settings, bucket: str, objects: Iterator[tuple[str, bytes]]) -> None:
    """Write every object, given as its key and its bytes. Raises obstore's errors."""

    async def put_some() -> None:
        for key, body in objects:
            await obstore.put_async(client, key, body)

    async def put_at_once() -> None:
        await asyncio.gather(*(put_some() for _ in range(PUTS_AT_ONCE)))

    client = bucket_client(s3, static_keys(s3), bucket)
    asyncio.run(put_at_once())
