"""The port ``Format``: a kind of file that a model comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from shared.catalog.exports import ExportedModel, ExportRequest


class Format(Protocol):
    """One that files may have; ``FORMAT`` in the module of that name."""

    # Which of ``config``, ``architecture``, ``layout`` and ``channels`` it uses; a request with
    # others is refused before ``export``.
    options: frozenset[str]

    def is_format_of(self, weights: Path) -> bool:
        """Whether the file looks like it, by its first bytes or its name. Reads little."""
        ...

    def export(self, request: ExportRequest) -> ExportedModel:
        """Write ``request.output``, a graph that gives for images what the network gives.

        The graph takes uint8 RGB images of shape (batch, height, width, 3), has the normalisation
        inside, and names its outputs as ``Analysis.reads`` does; its metadata say what was baked in
        (``workers.inference.engines.exported.provenance``). Nothing is written where it fails.
        How many labels there are is compared with ``ExportedModel.classes`` afterwards.
        Raises PermanentError, in one sentence of ours, for what cannot be a model.
        """
        ...
