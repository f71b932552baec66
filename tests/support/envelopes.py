"""Messages as they lie in a queue of Redis or Valkey."""

from __future__ import annotations

import base64
import json
from typing import TypeVar

from shared.messages import Message

M = TypeVar("M", bound=Message)


def message_in(raw: bytes | str, kind: type[M]) -> M:
    """The message that an envelope carries; its signature is not looked at."""
    (body, _signature), _, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
    return kind.model_validate_json(body)
