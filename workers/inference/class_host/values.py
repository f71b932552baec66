"""What a user's class gave, as JSON and raw bytes: never a pickle.

The host packs, the worker unpacks. Standard library and numpy only: the host loads this file by
its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

# Numbers and booleans. Anything else in an array is not an answer.
_NUMERIC = "fiub"
# A list in a list in a list: no answer that is understood nests deeper than three.
_MAX_DEPTH = 8
# A batch's answers without its arrays: 256 images with 1,000 labels each take 7 MB. Reading so much
# holds the interpreter's lock for half a second, and a lease ends after six.
MAX_TREE_BYTES = 2**24
MAX_PACKED_BYTES = 2**28
# A class may replace what json has.
_dumps = json.dumps


class Foreign:
    """Stands for a value of which only the name of its type travels."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name


def type_name(value: Any) -> str:
    """The name of the type that an unpacked value had in the host."""
    return value.type_name if isinstance(value, Foreign) else type(value).__name__


def plain(value: Any) -> Any:
    """A torch tensor, on whichever device, as a numpy array; anything else as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return value.detach().cpu().float().numpy()
    return value


def pack(outputs: Any) -> tuple[int, bytes]:
    """Outputs as the length of their JSON, and that JSON followed by the arrays' bytes.

    Raises ValueError where they are larger than ``MAX_TREE_BYTES`` and ``MAX_PACKED_BYTES``.
    """
    arrays = _Arrays()
    tree = _dumps(_tree(outputs, arrays, 0)).encode()
    if len(tree) > MAX_TREE_BYTES or len(tree) + arrays.size_bytes > MAX_PACKED_BYTES:
        given_bytes = len(tree) + arrays.size_bytes
        raise ValueError(f"the class gave {given_bytes >> 20} MiB for one batch; give less")
    return len(tree), b"".join([tree, *arrays.found])


def unpack(tree_bytes: int, packed: bytes) -> Any:
    """What ``pack`` was given. Raises ValueError for anything that it did not make."""
    if not 0 <= tree_bytes <= min(MAX_TREE_BYTES, len(packed)):
        raise ValueError("no length of packed values")
    arrays = memoryview(packed)[tree_bytes:]
    try:
        return _value(json.loads(packed[:tree_bytes]), arrays)
    except (TypeError, LookupError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"not packed values: {error!r}") from error


class _Arrays:
    """The bytes of arrays, one after the other."""

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self.size_bytes = 0

    def add(self, array: Any) -> dict[str, Any]:
        """How the array stands in the JSON."""
        where = self.size_bytes
        self.found.append(np.ascontiguousarray(array).tobytes())
        self.size_bytes += len(self.found[-1])
        return {"array": array.dtype.str, "shape": array.shape, "at": where}


def _tree(value: Any, arrays: _Arrays, depth: int) -> Any:
    value = plain(value)
    if depth > _MAX_DEPTH:
        return {"foreign": "deeper nest"}
    if isinstance(value, np.generic) and value.dtype.kind in _NUMERIC:
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in _NUMERIC:
        return arrays.add(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Real):
        return _number(value)
    if isinstance(value, list | tuple):
        entries = [_tree(entry, arrays, depth + 1) for entry in value]
        return {"tuple": entries} if isinstance(value, tuple) else entries
    if isinstance(value, Mapping):
        pairs = value.items()
        return {"pairs": [[_tree(each, arrays, depth + 1) for each in pair] for pair in pairs]}
    return {"foreign": type(value).__name__}


def _number(value: Any) -> Any:
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return {"foreign": type(value).__name__}


def _value(tree: Any, arrays: memoryview) -> Any:
    if isinstance(tree, list):
        return [_value(entry, arrays) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return _unpacked_array(tree, arrays)
    if "tuple" in tree:
        return tuple(_value(entry, arrays) for entry in tree["tuple"])
    if "pairs" in tree:
        return {_value(key, arrays): _value(entry, arrays) for key, entry in tree["pairs"]}
    return Foreign(str(tree["foreign"])[:100])


def _unpacked_array(tree: dict[str, Any], arrays: memoryview) -> Any:
    kind, shape = np.dtype(tree["array"]), tuple(map(int, tree["shape"]))
    if kind.kind not in _NUMERIC or min(shape, default=0) < 0:
        raise ValueError("an array that is not numeric")
    count = 1
    for side in shape:  # Python's integers do not overflow
        count *= side
    array = np.frombuffer(arrays, kind, count, int(tree["at"])) if count else np.empty(0, kind)
    return array.reshape(shape)
