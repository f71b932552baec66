"""Files of weights: what is read of them, and that the rest is refused in a sentence of ours."""

from __future__ import annotations

import argparse
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import PermanentError
from shared.model import MAX_WEIGHTS_BYTES
from workers.inference.networks.checkpoints import read_state_dict, without_prefixes
from workers.inference.networks.files import looks_like_weights

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


def saved(path: Path, what: Any, **options: Any) -> None:
    torch.save(what, path, **options)


def repacked(path: Path, compression: int) -> None:
    """What ``torch.save`` wrote, by zipfile."""
    torch.save({"weight": torch.zeros(100_000)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def bomb_of_claims(path: Path) -> None:
    """An archive of which the directory names one entry's bytes many times."""
    repacked(path, zipfile.ZIP_STORED)
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    directory, tail = data[start:end] * 50, bytearray(data[end:])
    count = 50 * int.from_bytes(tail[8:10], "little")
    tail[8:12] = count.to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    path.write_bytes(data[:start] + directory + tail)


def shortened(path: Path, **options: Any) -> None:
    torch.save({"weight": torch.zeros(100_000)}, path, **options)
    path.write_bytes(path.read_bytes()[:-100_000])


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "pickle")


def torchscript(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))  # type: ignore[no-untyped-call]


def too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_WEIGHTS_BYTES + 1)


OLD = {"_use_new_zipfile_serialization": False}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "code": (lambda p: saved(p, {"a": argparse.Namespace(x=1)}), "needs code"),
    "code, old": (lambda p: saved(p, {"a": argparse.Namespace(x=1)}, **OLD), "needs code"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps(Path("x"), 2)), "needs code"),
    "model": (lambda p: saved(p, torch.nn.Linear(2, 2)), "is a whole pickled model"),
    "model, old": (lambda p: saved(p, torch.nn.Linear(2, 2), **OLD), "is a whole pickled model"),
    "model in it": (lambda p: saved(p, {"model": torch.nn.ReLU()}), "is a whole pickled model"),
    "torchscript": (torchscript, "is a TorchScript archive"),
    "cut": (shortened, "is damaged or cut short"),
    "cut, old": (lambda p: shortened(p, **OLD), "is damaged or cut short"),
    "cut zip": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(90)), "is damaged or cut short"),
    "too large": (too_large, "has 1.9 GiB, more than the 1.9 of"),
    "bomb": (lambda p: repacked(p, zipfile.ZIP_DEFLATED), "is compressed"),
    "bomb of claims": (bomb_of_claims, "claims to hold more bytes than it has"),
    "tar": (tar, "is a tar archive"),
    "other zip": (lambda p: zipfile.ZipFile(p, "w").writestr("a", "b"), "is a zip archive that"),
    "page": (lambda p: p.write_bytes(b"<html>" * 100), "is no file of torch"),
    "nothing": (lambda p: p.write_bytes(b""), "is no file of torch"),
    "empty dict": (lambda p: saved(p, {}), "is empty"),
    "other things": (lambda p: saved(p, {"epoch": 3, "names": ["a"]}), "holds no tensors"),
    "numbers": (lambda p: saved(p, {1: torch.zeros(2)}), "holds no tensors"),
    "tensor": (lambda p: saved(p, torch.zeros(2)), "holds no tensors"),
    "safetensors": (lambda p: p.write_bytes(b"\x05" + bytes(7) + b"{oops"), "is damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_without_readable_weights_is_refused_in_one_sentence(
    kind: str, tmp_path: Path
) -> None:
    make, reason = REFUSED[kind]
    path = tmp_path / "mine.pt"
    make(path)
    assert looks_like_weights(path)
    with pytest.raises(PermanentError) as caught:
        read_state_dict(path)
    error = caught.value
    assert error.code == "bad_weights"
    assert error.message.startswith(f"mine.pt {reason}")
    assert re.fullmatch(r"[^\n\x1b]{1,200}\.", error.message)
    assert not re.search(r"Error|weights_only|Namespace|PosixPath|GLOBAL", str(error))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        *(
            lambda state, place=place: {"epoch": 3, "optimizer": {"state": {}}, place: state}
            for place in ("state_dict", "model", "model_state_dict", "net", "ema")
        ),
        lambda state: {"ema": {"x": torch.zeros(1)}, "model": state},
        lambda state: {"model_ema": {"n_averaged": torch.tensor(3), **state}},
        lambda state: {"ema": {"module": state, "updates": 3}},
    ],
)
@pytest.mark.parametrize("options", [{}, OLD])
def test_the_state_dict_of_a_checkpoint_is_found(
    wrap: Callable[[Any], Any], options: dict[str, Any], tmp_path: Path
) -> None:
    saved(tmp_path / "mine.pt", wrap(STATE), **options)
    found = read_state_dict(tmp_path / "mine.pt")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "mine"
    save_file(STATE, path)
    assert looks_like_weights(path)
    found = read_state_dict(path)
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(PermanentError, match="mine is damaged or cut short"):
        read_state_dict(path)


def test_only_a_prefix_of_all_names_is_left_out() -> None:
    assert list(without_prefixes(STATE)) == [STATE, {k[5:]: v for k, v in STATE.items()}]
    mixed = {**STATE, "last.weight": torch.ones(1)}
    long = {f"module._orig_mod.{name}": tensor for name, tensor in mixed.items()}
    assert list(without_prefixes(mixed)) == [mixed]
    assert list(without_prefixes(long))[-1].keys() == mixed.keys()
