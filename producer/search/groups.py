"""Groups of images of a like style: k-means over vectors and the colours of palettes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from producer.search import colours
from producer.search.faiss_library import load_faiss
from producer.search.vectors import ReadRows, Vectors, answered, unit_vectors
from shared.item import Item

# Enough images to find the centre of a group. faiss uses no more than this by default.
_SAMPLED_PER_GROUP = 256
_ITERATIONS = 25
# Of these starts the best one counts.
_STARTS = 5
TYPICAL_IMAGES = 24

# Takes how many images were read so far; each is read twice.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StyleColumns:
    """The columns that images are compared by: one of vectors, if there is one, and of palettes."""

    vectors: tuple[str, ...]
    palettes: tuple[str, ...]

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return self.vectors + self.palettes

    def features(self, batch: pa.RecordBatch) -> list[Vectors]:
        """Arrays of shape (images, numbers), each of which is to count as much as ``weights``."""
        found = [unit_vectors(batch[name]) for name in self.vectors]
        for name in self.palettes:
            numbers = colours.style_numbers(batch[name])
            found += np.split(numbers, [colours.STATISTICS], axis=1)
        return found

    @property
    def weights(self) -> list[float]:
        """Of the arrays of ``features``: a palette counts as much as a vector."""
        return [1.0] * len(self.vectors) + [0.5, 0.5] * len(self.palettes)


@dataclass(frozen=True, slots=True)
class Group:
    """``number`` from 1. ``typical``: its most typical images, the nearest to its centre first."""

    number: int
    images: int
    typical: list[Item]


@dataclass(frozen=True, slots=True)
class Grouping:
    """``table``: ``key`` and ``group``, in the order of the rows. ``groups``: the largest first."""

    table: pa.Table
    groups: list[Group]


def group_by_style(
    read_rows: ReadRows, columns: StyleColumns, count: int, seed: int, progress: Progress
) -> Grouping:
    """At most ``count`` groups: fewer where there are not so many images that differ.

    The rows are read twice: centres are found in a sample, and every image goes to the nearest.
    Images that failed are in no group.
    """
    scaled, batches = _Scaled(columns), _Batches(read_rows, columns, progress)
    sample = _sample(
        (scaled.features(batch) for batch in batches),
        count * _SAMPLED_PER_GROUP,
        np.random.default_rng(seed),
    )
    if not len(sample):
        return Grouping(_table([], np.empty(0, np.int64)), [])
    scale = scaled.settle(sample)
    centres = _centres(sample * scale, count, seed)
    return _assign(((batch, scaled.features(batch) * scale) for batch in batches), centres)


class _Batches:
    """The images that can be compared, as often as they are iterated over."""

    def __init__(self, read_rows: ReadRows, columns: StyleColumns, progress: Progress) -> None:
        self._read_rows, self._columns, self._progress = read_rows, columns, progress
        self._images = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in answered(self._read_rows(), self._columns.names):
            yield batch
            self._images += batch.num_rows
            self._progress(self._images)


class _Scaled:
    """The features of images side by side, and what each is multiplied with."""

    def __init__(self, columns: StyleColumns) -> None:
        self._columns = columns
        self._widths: list[int] = []

    def features(self, batch: pa.RecordBatch) -> Vectors:
        parts = self._columns.features(batch)
        self._widths = [part.shape[1] for part in parts]
        return np.hstack(parts)

    def settle(self, sample: Vectors) -> Vectors:
        """So that in the sample each part's squared distance from the mean is its weight."""
        spreads = sample.var(axis=0, dtype=np.float64)
        scales, start = [], 0
        for width, weight in zip(self._widths, self._columns.weights, strict=True):
            spread = spreads[start : start + width].sum()
            # Numbers that are all the same differ by rounding.
            scales.append(np.full(width, (weight / spread) ** 0.5 if spread > 1e-9 else 0.0))
            start += width
        return np.concatenate(scales).astype(np.float32)


def _sample(batches: Iterable[Vectors], size: int, random: np.random.Generator) -> Vectors:
    """At most ``size`` rows, each as likely as any other: Vitter's algorithm R."""
    sample, seen = np.empty((0, 0), np.float32), 0
    for features in batches:
        if not seen:
            sample = np.empty((size, features.shape[1]), np.float32)
        places = np.arange(seen, seen + len(features))
        slots = np.where(places < size, places, random.integers(0, places + 1))
        taken = slots < size
        sample[slots[taken]] = features[taken]
        seen += len(features)
    return sample[:seen]


def _centres(sample: Vectors, count: int, seed: int) -> Vectors:
    different = np.unique(sample, axis=0)
    if len(different) <= count:
        return different
    faiss = load_faiss()
    kmeans = faiss.Kmeans(
        sample.shape[1],
        count,
        niter=_ITERATIONS,
        nredo=_STARTS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLED_PER_GROUP,
    )
    kmeans.train(sample)
    centres: Vectors = kmeans.centroids
    return centres


class _Typical:
    """The images of one group that are nearest to its centre."""

    def __init__(self) -> None:
        # By what they are copies of; a copy under another key shows nothing new.
        self._nearest: dict[str, tuple[float, Item]] = {}

    def look(self, batch: pa.RecordBatch, places: npt.NDArray[np.int64], far: Vectors) -> None:
        """``places``: of its images in the batch; ``far``: how far each is from the centre."""
        is_full = len(self._nearest) == TYPICAL_IMAGES
        farthest = max((each for each, _ in self._nearest.values()), default=np.inf)
        for place in np.argsort(far, kind="stable").tolist():
            if len(self._nearest) == 2 * TYPICAL_IMAGES or (is_full and far[place] >= farthest):
                break
            row = int(places[place])
            key, etag, size = (batch[name][row].as_py() for name in ("key", "etag", "size"))
            item = Item(key=key, etag=etag, size=size)
            self._nearest.setdefault(etag or key, (float(far[place]), item))
        ordered = sorted(self._nearest.items(), key=lambda entry: entry[1][0])
        self._nearest = dict(ordered[:TYPICAL_IMAGES])

    def items(self) -> Iterator[Item]:
        """The nearest first."""
        return (item for _, item in self._nearest.values())


def _assign(batches: Iterable[tuple[pa.RecordBatch, Vectors]], centres: Vectors) -> Grouping:
    faiss = load_faiss()
    typical = [_Typical() for _ in centres]
    keys: list[pa.Array] = []
    labels: list[npt.NDArray[np.int64]] = []
    for batch, features in batches:
        far, nearest = (found[:, 0] for found in faiss.knn(features, centres, 1))
        keys.append(batch["key"])
        labels.append(nearest)
        for number in np.unique(nearest).tolist():
            places = np.flatnonzero(nearest == number)
            typical[number].look(batch, places, far[places])
    numbers = np.concatenate(labels)
    found, firsts, counts = np.unique(numbers, return_index=True, return_counts=True)
    order = np.lexsort((firsts, -counts))
    new_numbers = np.zeros(len(centres), np.int64)
    new_numbers[found[order]] = np.arange(1, len(order) + 1)
    groups = [
        Group(new, images, list(typical[old].items()))
        for new, (old, images) in enumerate(
            zip(found[order].tolist(), counts[order].tolist(), strict=True), start=1
        )
    ]
    return Grouping(_table(keys, new_numbers[numbers]), groups)


def _table(keys: list[pa.Array], numbers: npt.NDArray[np.int64]) -> pa.Table:
    columns = [pa.chunked_array(keys, pa.string()), pa.array(numbers, pa.int32())]
    return pa.table(columns, names=["key", "group"])
