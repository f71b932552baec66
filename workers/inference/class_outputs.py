"""Checks outputs of a user's class, and names wrong ones in few words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.item import ItemFailure
from workers.inference.class_host.values import Foreign, is_huge, type_name
from workers.inference.errors import model_failure

# Rows keep scores and vectors as float32. A comparison with it refuses NaN, too.
MAX_ABSOLUTE_NUMBER = float(np.finfo(np.float32).max)
_MAX_SHOWN_CHARACTERS = 60


class UnusableOutput(ValueError):
    """An output has none of the forms. The message names what is wrong, with type and value."""

    def as_failure(self) -> ItemFailure:
        """The failure of the image that the output is for."""
        return model_failure(f"The model gave an unusable output: {self}.")


def wrong_number(number: Any) -> str:
    """What is wrong with it, after "is"; empty where a row can hold it."""
    if not isinstance(number, int | float):
        return shown(number)
    if abs(number) <= MAX_ABSOLUTE_NUMBER:
        return ""
    bound = f", beyond {MAX_ABSOLUTE_NUMBER:.2g}" if abs(number) < math.inf else ""
    return f"{shown(number)}{bound}"


def shown(value: Any) -> str:
    """A value with its type, in few printable characters."""
    if value is None:
        return "None"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    name = "".join(filter(str.isprintable, type_name(value)))
    if isinstance(value, list | tuple | Mapping):
        return f"a {name} of {len(value)}"
    text = _text(value)
    return f"{text} ({name})" if text else f"a {name}"


def _text(value: Any) -> str:
    if isinstance(value, Foreign):
        return "".join(filter(str.isprintable, value.text))
    if isinstance(value, str):
        return repr(value[:_MAX_SHOWN_CHARACTERS]) + "…" * (len(value) > _MAX_SHOWN_CHARACTERS)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"[:_MAX_SHOWN_CHARACTERS]
    if is_huge(value):
        return f"an integer of {value.bit_length()} bits"
    return repr(value) if isinstance(value, int | float) else ""
