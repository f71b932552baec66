"""The port ``Head``: it turns a model's raw outputs into the answers of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.item import ItemFailure
from shared.model import LayoutName
from shared.placement import Size
from workers.inference.errors import ModelUnusable

# The outputs of a user's class: an array or a list, with one entry for each image.
ClassOutputs = npt.NDArray[Any] | list[Any]


@dataclass(frozen=True, slots=True)
class NetworkOutputs:
    """A network's outputs for a batch.

    ``arrays``: by the names in ``Model.outputs``, each with one entry for each image.
    ``layout``: how those of a detector become boxes; None for other networks.
    ``canvas``: width and height of the images that it got, in pixels.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    layout: LayoutName | None = None
    canvas: Size = (0, 0)

    def array(self, name: str) -> npt.NDArray[Any]:
        """The array of that name. Raises ModelUnusable where there is none."""
        if name not in self.arrays:
            raise ModelUnusable(
                f"The model gives no {name}, which the analysis reads.",
                "Choose another kind of analysis, or another model.",
            )
        return self.arrays[name]


@dataclass(frozen=True, slots=True)
class HeadAnswers:
    """One analysis's answers for some images.

    ``values``: of the analysis's ``answer_type``, one for each image, null where it failed.
    ``failures``: by the number of the image.
    """

    values: pa.Array
    failures: dict[int, ItemFailure] = field(default_factory=dict)


class Head(Protocol):
    """The one for a kind of analysis is ``HEAD`` in the module of that name in this folder."""

    def answers(
        self,
        analysis: Any,
        outputs: NetworkOutputs | ClassOutputs,
        labels: Sequence[str],
        sizes: Sequence[Size],
    ) -> HeadAnswers:
        """The answers for a batch.

        ``analysis``: of the head's kind, with its options.
        ``labels``: of the model's classes; none where it has no labels.
        ``sizes``: width and height of each original image, from which its view places it.
        """
        ...

    def agreement(
        self, exact: NetworkOutputs, other: NetworkOutputs
    ) -> npt.NDArray[np.bool_] | None:
        """For each image, whether ``other`` answers as ``exact``, which is float32's.

        None where the network does not give what the head reads.
        """
        ...
