"""State dicts inside of what was saved: training checkpoints, and names with a prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from workers.inference.networks.files import read_weights, refused

StateDict = dict[str, torch.Tensor]

# Under which a checkpoint has its network, the first that is there. The averaged weights of a
# training (EMA) come after those that it trained.
_NETWORK = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
_AVERAGED = ("model_ema", "ema_state_dict", "ema")
_PLACES = _NETWORK + _AVERAGED
# What torch's averaged models have beside the network.
_COUNTER = "n_averaged"
# As in a compiled network (_orig_mod) on several devices (module) inside of a trainer (model).
_MAX_PREFIXES = 3


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a file by their names, as they are there.

    Raises PermanentError ``bad_weights`` and OSError; see ``read_weights``.
    """
    loaded = read_weights(path)
    found = _state_dict_in(loaded)
    if found is None:
        empty = isinstance(loaded, Mapping) and not loaded
        raise refused(
            path,
            "is empty" if empty else "holds no tensors by their names, as a state dict does",
            "Save the network's state dict: torch.save(model.state_dict(), FILE).",
        )
    return found


def without_prefixes(state: StateDict) -> Iterator[StateDict]:
    """The same tensors with their own names, then without each prefix that all of them have."""
    yield state
    for _ in range(_MAX_PREFIXES):
        prefixes = {name.split(".", 1)[0] for name in state if "." in name}
        if len(prefixes) != 1 or not all("." in name for name in state):
            return
        state = {name.split(".", 1)[1]: tensor for name, tensor in state.items()}
        yield state


def _state_dict_in(loaded: Any, depth: int = 2) -> StateDict | None:
    if not isinstance(loaded, Mapping) or not loaded:
        return None
    if all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in loaded.items()):
        return {name: tensor for name, tensor in loaded.items() if name != _COUNTER} or None
    for place in _PLACES if depth else ():
        if (found := _state_dict_in(loaded.get(place), depth - 1)) is not None:
            return found
    return None
