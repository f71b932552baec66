"""A network's features, or the numbers of a user's class, as one vector for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.analyses.vector import Vector
from shared.item import ItemFailure
from shared.placement import Size
from workers.inference.class_host.values import has_scores, scalar
from workers.inference.class_outputs import MAX_ABSOLUTE_NUMBER, UnusableOutput, shown, wrong_number
from workers.inference.errors import model_failure
from workers.inference.heads.port import ClassOutputs, HeadAnswers, NetworkOutputs

# MobileNetV2's features in OpenVINO's bfloat16 have a cosine with float32's of 0.9950 at least on
# 500 photos, and of 0.9962 on the calibration images (medians 0.9996 and 0.9994). On both, 4 % of
# the images get another nearest neighbour then, which is as near to 0.007 in cosine, where nearest
# neighbours have 0.73 in the median. Random errors of cosine 0.98 would change 12 %.
MIN_COSINE = 0.99
_FORMS = "Return for each image a 1-D array or a list of numbers"

Numbers = npt.NDArray[Any]


class VectorHead:
    """Reads a network's ``features``, and arrays or lists of numbers of a user's class."""

    def answers(
        self,
        analysis: Vector,
        outputs: NetworkOutputs | ClassOutputs,
        labels: Sequence[str],  # noqa: ARG002 - it has classes alone
        sizes: Sequence[Size],  # noqa: ARG002 - a vector has no place
    ) -> HeadAnswers:
        """See ``Head``."""
        if isinstance(outputs, NetworkOutputs):
            outputs = outputs.array("features")
        numbers, failures = _stacked(outputs, analysis.length)
        vectors = _finite(numbers, failures)
        if analysis.unit_length:
            vectors = _scaled(vectors, failures)
        is_failed = np.zeros(len(vectors), np.bool_)
        is_failed[list(failures)] = True
        values = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.astype(np.float32).ravel()),
            type=analysis.answer_type(),
            mask=pa.array(is_failed),
        )
        return HeadAnswers(values, failures)

    def agreement(
        self, exact: NetworkOutputs, other: NetworkOutputs
    ) -> npt.NDArray[np.bool_] | None:
        """Whether the vectors point the same way."""
        if "features" not in exact.arrays:
            return None
        first, second = (_directions(each.array("features")) for each in (exact, other))
        return np.asarray((first * second).sum(axis=1) >= MIN_COSINE, np.bool_)


HEAD = VectorHead()


def _stacked(outputs: ClassOutputs, length: int) -> tuple[Numbers, dict[int, ItemFailure]]:
    """The vectors as one array (images, length), zeros where an image failed."""
    if _is_table(outputs, length):
        return np.asarray(outputs), {}
    rows, failures = np.zeros((len(outputs), length)), {}
    for image, output in enumerate(outputs):
        try:
            rows[image] = _numbers(output, length)
        except UnusableOutput as refused:
            failures[image] = refused.as_failure()
    return rows, failures


def _is_table(outputs: ClassOutputs, length: int) -> bool:
    if not isinstance(outputs, np.ndarray):
        return False
    return outputs.dtype.kind in "fiu" and outputs.shape[1:] == (length,)


def _numbers(output: Any, length: int) -> Any:
    """The numbers of one output. Raises UnusableOutput where it is not ``length`` of them."""
    output = scalar(output)
    is_array = isinstance(output, np.ndarray) and output.ndim == 1 and has_scores(output)
    if not isinstance(output, list | tuple) and not (is_array and output.dtype.kind != "b"):
        raise UnusableOutput(f"{shown(output)}. {_FORMS}")
    if len(output) != length:
        raise UnusableOutput(f"{len(output):,} instead of {length:,} numbers")
    if is_array or set(map(type, output)) == {float}:  # of which there may be many
        return output
    numbers = [scalar(entry) for entry in output]
    for place, number in enumerate(numbers, 1):
        if isinstance(number, bool) or wrong_number(number):
            wrong = wrong_number(number) or shown(number)
            raise UnusableOutput(f"entry {place} of {length:,} is {wrong}. {_FORMS}")
    return numbers


def _finite(numbers: Numbers, failures: dict[int, ItemFailure]) -> Numbers:
    """The numbers in float64; images with one that no row can hold fail."""
    numbers = numbers.astype(np.float64)
    fits = np.abs(numbers) <= MAX_ABSOLUTE_NUMBER
    for image in np.flatnonzero(~fits.all(axis=1)).tolist():
        place = int(np.argmin(fits[image]))
        wrong = wrong_number(float(numbers[image, place]))
        refused = UnusableOutput(f"entry {place + 1} of {numbers.shape[1]:,} is {wrong}")
        failures[image] = refused.as_failure()
        numbers[image] = 0
    return numbers


def _scaled(vectors: Numbers, failures: dict[int, ItemFailure]) -> Numbers:
    """The vectors in length 1; an image whose vector has no direction fails."""
    # What a row cannot tell from zero is zero here, too.
    lengths = np.linalg.norm(vectors.astype(np.float32).astype(np.float64), axis=1, keepdims=True)
    for image in np.flatnonzero(lengths == 0).tolist():
        failures.setdefault(
            image,
            model_failure(
                "The model gave a vector of zeros, which has no direction: give another, or set "
                "unit_length: false."
            ),
        )
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths))


def _directions(vectors: Numbers) -> Numbers:
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30))
