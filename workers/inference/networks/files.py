"""Files of weights, read without running any code that is in them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from shared.errors import PermanentError
from shared.model import MAX_WEIGHTS_BYTES

_SAVE_AGAIN = "Save its state dict alone: torch.save(model.state_dict(), FILE)."
_GET_AGAIN = "Copy or download it again, and compare its size or sha256 with the original's."
_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".safetensors"})
_ZIP, _PICKLE, _TAR = b"PK", b"\x80", b"ustar"
_TAR_AT = 257
# What safetensors itself allows.
_MAX_HEADER_BYTES = 100_000_000
# In a pickle before torch 1.6, the objects come before the numbers.
_PICKLED_BYTES = 16 * 2**20


def looks_like_weights(path: Path) -> bool:
    """Whether the file starts or is named as files of weights are, readable or not."""
    start = _start(path)
    known = start[:2] == _ZIP or start[:1] == _PICKLE or _is_tar(start) or _is_safetensors(start)
    return known or path.suffix.lower() in _SUFFIXES


def read_weights(path: Path) -> Any:
    """What the file holds: a state dict, or whatever else was saved.

    Raises PermanentError ``bad_weights`` for what cannot be read safely, in one sentence of ours,
    and OSError.
    """
    size = path.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise refused(
            path,
            f"has {size / 2**30:.1f} GiB, more than the {MAX_WEIGHTS_BYTES / 2**30:.1f} of a model",
            "Save the weights alone, in float32 or a smaller type.",
        )
    start = _start(path)
    if start[:2] == _ZIP:
        _require_torch_archive(path, size)
    elif _is_tar(start):
        raise refused(path, "is a tar archive, as torch before 0.4 wrote them", _SAVE_AGAIN)
    elif _is_safetensors(start):
        return _read_safetensors(path)
    elif start[:1] != _PICKLE:
        raise refused(path, "is no file of torch or safetensors", _SAVE_AGAIN)
    return _read_torch(path)


def refused(path: Path, what: str, hint: str) -> PermanentError:
    """The error that the file is of no use. ``what``: follows its name in the sentence."""
    return PermanentError("bad_weights", f"{printable(path.name)} {what}.", hint)


def printable(name: str) -> str:
    """A name from a file, as a line on a terminal can show it."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:80])
    return shown if len(name) <= len(shown) else f"{shown}…"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_TAR_AT + len(_TAR))


def _is_tar(start: bytes) -> bool:
    return start[_TAR_AT:] == _TAR


def _is_safetensors(start: bytes) -> bool:
    """The length of its header in eight bytes, then the header, which is JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_HEADER_BYTES


def _require_torch_archive(path: Path, size: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _damaged(path) from error
    parts = [entry.filename.split("/") for entry in entries]
    if any("code" in names[1:-1] or names[-1] == "constants.pkl" for names in parts):
        raise refused(path, "is a TorchScript archive, which holds code", _SAVE_AGAIN)
    if not any(names[-1] == "data.pkl" for names in parts):
        raise refused(path, "is a zip archive that torch.save did not write", _SAVE_AGAIN)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise refused(path, "is compressed, which torch.save never does", _SAVE_AGAIN)
    if sum(entry.file_size for entry in entries) > size:
        raise refused(path, "claims to hold more bytes than it has", _GET_AGAIN)


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        if "Unsupported" not in str(error):
            raise _damaged(path) from error
        what = "needs code to be read, and weights must not run any"
        if b"torch.nn.modules" in _pickled(path):
            what = "is a whole pickled model, and not its weights"
        raise refused(path, what, _SAVE_AGAIN) from error


def _pickled(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_PICKLED_BYTES)
    with zipfile.ZipFile(path) as archive:
        (name, *_) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
        return tensors
    except SafetensorError as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> PermanentError:
    return refused(path, "is damaged or cut short", _GET_AGAIN)
