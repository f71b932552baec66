"""Batch norms folded into the convolutions before them: half of the passes over memory."""

from __future__ import annotations

import logging

import torch
from torch.fx.experimental.optimization import fuse

log = logging.getLogger(__name__)


def without_batch_norms(network: torch.nn.Module) -> torch.nn.Module:
    """The same function, in evaluation mode, of float32 weights; ``network`` itself where it has
    no batch norms or torch cannot trace it."""
    if not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()):
        return network
    try:
        return fuse(network)
    except Exception:
        log.warning("the batch norms are not folded", exc_info=True)
        return network
