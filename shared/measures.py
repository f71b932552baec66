"""Measures of Arrow arrays, for checking values that came from outside against their bounds.

Each call of ``pyarrow.compute`` lets other threads run first, so checking a message of 64 rows with
it takes longer than reading the message. These functions read the buffers directly, and call
``pyarrow.compute`` only where the arrays are so large that it does not matter.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def longest_list(lists: pa.ListArray) -> int:
    """How many entries the longest has; 0 where there is none."""
    return int(np.diff(_offsets(lists)).max(initial=0))


def longest_text(texts: pa.StringArray, limit: int) -> int:
    """How many characters the longest has; or, where that is below ``limit``, bytes."""
    longest_bytes = int(np.diff(_offsets(texts)).max(initial=0))
    return longest_bytes if longest_bytes <= limit else pc.max(pc.utf8_length(texts)).as_py() or 0


def are_finite(numbers: pa.FloatingPointArray) -> bool:
    """Whether all are there and finite."""
    return numbers.null_count == 0 and bool(np.isfinite(numbers.to_numpy()).all())


def are_within(numbers: pa.NumericArray, lowest: int, highest: int) -> bool:
    """Whether all that are there are from ``lowest`` to ``highest``."""
    found = (numbers.drop_null() if numbers.null_count else numbers).to_numpy()
    return bool(((found >= lowest) & (found <= highest)).all())


def _offsets(array: pa.ListArray | pa.StringArray) -> np.ndarray:
    offsets = array.buffers()[1]
    if offsets is None or not offsets.size:  # as an array of nothing may have it
        return np.zeros(1, np.int32)
    return np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
