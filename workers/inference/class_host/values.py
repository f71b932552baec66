"""What a user's class gave, as JSON and raw bytes: never a pickle.

The host packs, the worker unpacks. Standard library and numpy only: the host loads this file by
its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sized
from numbers import Number
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
# Enough for any id, such as a UUID. Writing an integer of many digits takes a time that grows with
# their square.
_MAX_INTEGER_BITS = 256
_MAX_TEXT_CHARACTERS = 60
# A list of so many floats or more is sent as an array: as JSON, 1,280 of them take 0.8 ms.
_MANY_FLOATS = 16
_FLOATS = frozenset({float, np.float16, np.float32, np.float64})
_ORDINARY = frozenset({str, float, int, bool, type(None)})
# A class may replace what json has.
_dumps = json.dumps


class Foreign:
    """Stands for a value of which the name of its type travels, and how it looks, if that is short.

    ``text`` is empty where the type says it all.
    """

    def __init__(self, type_name: str, text: str = "") -> None:
        self.type_name, self.text = type_name, text


def type_name(value: Any) -> str:
    """The name of the type that an unpacked value had in the host."""
    return value.type_name if isinstance(value, Foreign) else type(value).__name__


def plain(value: Any) -> Any:
    """A torch tensor, on whichever device, as a numpy array; anything else as it is.

    Its type is kept where numpy has it. A tensor that has no plain numbers is left as it is.
    """
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    try:
        tensor = value.detach().cpu()
        try:
            return tensor.numpy()
        except TypeError:  # numpy has no bfloat16
            return tensor.float().numpy()
    except (TypeError, NotImplementedError):  # it is sparse, or on the device "meta"
        return value


def has_scores(array: Any) -> bool:
    """Are there numbers in a numpy array, and no mask, under which there is no answer?"""
    return array.dtype.kind in _NUMERIC and not _has_mask(array)


def _has_mask(value: Any) -> bool:
    """Is it one of ``numpy.ma``'s arrays? They are known by name: the module need not be loaded."""
    if not isinstance(value, np.ndarray) or type(value) is np.ndarray:
        return False
    return any(base.__name__ == "MaskedArray" for base in type(value).__mro__)


def scalar(value: Any) -> Any:
    """A number or a text, whichever library's, as Python's own; a tensor as an array.

    Anything else is left as it is, and so is what Python's own float cannot hold.
    """
    if _is_ordinary(value):
        return value
    value = plain(value)
    if _has_mask(value):
        if np.any(value.mask.view(np.uint8)):
            return value
        value = value.data
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool) or not isinstance(value, Number):
        return value
    try:
        return int(value) if isinstance(value, int) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):  # complex, a signalling NaN, a large fraction
        return value


def pack(outputs: Any) -> tuple[int, bytes]:
    """Outputs as the length of their JSON, and that JSON followed by the arrays' bytes.

    A long list of floats becomes an array.
    Raises ValueError where they are larger than ``MAX_TREE_BYTES`` and ``MAX_PACKED_BYTES``.
    """
    arrays = _Arrays()
    # A character takes four bytes at most so, and up to twelve as ASCII.
    tree = _dumps(_tree(outputs, arrays, 0), ensure_ascii=False).encode("utf-8", "surrogatepass")
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
    if type(value) is str or type(value) is float:  # most are, and there may be many
        return value
    value = scalar(value)
    if _is_ordinary(value):
        return value
    if depth > _MAX_DEPTH:
        return {"foreign": "deeper nest"}
    if isinstance(value, np.ndarray) and has_scores(value):
        return arrays.add(value)
    if (
        isinstance(value, list)
        and len(value) >= _MANY_FLOATS
        and _FLOATS.issuperset(map(type, value))
    ):
        return arrays.add(np.array(value, np.float64))
    if isinstance(value, list | tuple):
        entries = [_tree(entry, arrays, depth + 1) for entry in value]
        return {"tuple": entries} if isinstance(value, tuple) else entries
    if isinstance(value, Mapping):
        pairs = value.items()
        return {
            "pairs": [[_key(key), _tree(_listed(each), arrays, depth + 1)] for key, each in pairs]
        }
    return _foreign(value)


def _listed(value: Any) -> Any:
    """An array of texts as a list of them; anything else as it is."""
    has_texts = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "UO"
    return value.tolist() if has_texts and not _has_mask(value) else value


def _key(value: Any) -> Any:
    """A mapping's key, which has to be one on the other side, too."""
    value = scalar(value)
    return value if _is_ordinary(value) else _foreign(value)


def _is_ordinary(value: Any) -> bool:
    """Is it JSON's own, or NaN or an infinity?"""
    kind = type(value)
    return kind in _ORDINARY and (kind is not int or not is_huge(value))


def is_huge(value: Any) -> bool:
    """Is it an integer of more digits than anybody needs?"""
    return isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS


def _foreign(value: Any) -> dict[str, str]:
    return {"foreign": type(value).__name__, "text": _text(value)}


def _text(value: Any) -> str:
    if is_huge(value):
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"[:_MAX_TEXT_CHARACTERS]
    if isinstance(value, bytes):
        value = value[:_MAX_TEXT_CHARACTERS]
    elif isinstance(value, Sized):  # it may be long
        return ""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - it is a user's
        return ""
    return "" if text.startswith("<") else text[:_MAX_TEXT_CHARACTERS]


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
    return Foreign(str(tree["foreign"])[:100], str(tree.get("text", ""))[:_MAX_TEXT_CHARACTERS])


def _unpacked_array(tree: dict[str, Any], arrays: memoryview) -> Any:
    kind, shape = np.dtype(tree["array"]), tuple(map(int, tree["shape"]))
    if kind.kind not in _NUMERIC or min(shape, default=0) < 0:
        raise ValueError("an array that is not numeric")
    count = 1
    for side in shape:  # Python's integers do not overflow
        count *= side
    array = np.frombuffer(arrays, kind, count, int(tree["at"])) if count else np.empty(0, kind)
    return array.reshape(shape)
