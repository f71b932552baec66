"""Analyses on the CPU, one file for each kind that needs no device."""

from importlib import import_module
from typing import Any, Protocol

from shared.pixels import Pixels


class Analyser(Protocol):
    """The one for a kind of analysis is ``analyse`` in the module of that name in this folder."""

    def __call__(self, analysis: Any, pixels: Pixels) -> Any:
        """The answer for one image, as JSON has it and ``analysis.answer_type()`` takes it.

        ``analysis``: of that kind, with its options. ``pixels``: uint8 RGB (height, width, 3), in
        the analysis's view. Raises ItemError where the image has no answer.
        """
        ...


def analyser_of(kind: str) -> Analyser:
    """The one for a kind of analysis."""
    analyse: Analyser = import_module(f"{__name__}.{kind}").analyse
    return analyse
