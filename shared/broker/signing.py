"""Message signatures: HMAC-SHA256 over task name, queue, message id and body.

Each field is preceded by its length, so that no two messages share a signed text. What is not
signed (headers, delivery info) is never acted upon.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence


def sign(key: str, task: str, queue: str, message_id: str, body: str) -> str:
    """The signature, as 64 hex digits."""
    digest = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for field in (task, queue, message_id, body):
        data = field.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def verify(
    keys: Sequence[str], task: str, queue: str, message_id: str, body: str, signature: str
) -> bool:
    """Was the message signed with one of ``keys``? Two are valid while keys are rotated."""
    return any(
        hmac.compare_digest(sign(key, task, queue, message_id, body).encode(), signature.encode())
        for key in keys
    )
