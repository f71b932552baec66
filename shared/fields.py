"""Types of fields that several documents and messages share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Channels = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
MAX_SIDE_PIXELS = 4096
SidePixels = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
DeadlineSeconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]


def is_sha256(text: str) -> bool:
    """Is it a whole one, as it stands in keys?"""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


class Frozen(BaseModel):
    """Base of everything that travels: unknown fields refused, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class FileDefault:
    """Beside a field's type: its default in a file, in words, where it is worked out.

    The default of the field itself is that of the value.
    """

    words: str
