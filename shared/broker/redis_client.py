"""The one way to reach a Redis or a Valkey, whatever it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from shared.tls import redis_options


def redis_client(
    url: str, ca_file: Path | None, *, timeout_seconds: float = 10, **options: Any
) -> redis.Redis:
    """A client that connects when it is first used. ``options`` are redis-py's own.

    Raises UsageError ``bad_ca_file``.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=3,
        **redis_options(url, ca_file),
        **options,
    )
