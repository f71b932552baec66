"""The port ``Head``: it turns a model's raw outputs into the answers of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.item import ItemFailure
from shared.placement import Size
from workers.inference.errors import ModelUnusable

# A network's arrays by the names in ``Model.outputs``, each with one entry for each image.
NetworkOutputs = Mapping[str, npt.NDArray[Any]]
# What a user's class gave: an array or a list, with one entry for each image.
ClassOutputs = npt.NDArray[Any] | list[Any]


def array_of(outputs: NetworkOutputs, name: str) -> npt.NDArray[Any]:
    """The network's array of that name. Raises ModelUnusable where it has none."""
    if name not in outputs:
        raise ModelUnusable(
            f"The model gives no {name}, which the analysis reads.",
            "Choose another kind of analysis, or another model.",
        )
    return outputs[name]


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
