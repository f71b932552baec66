"""Groups of images by style: what is planted is found, and odd jobs have sensible answers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from producer.search import groups as groups_module
from producer.search import vectors as vectors_module
from producer.search.colours import STATISTICS, style_numbers
from producer.search.groups import TYPICAL_IMAGES, Grouping, StyleColumns, group_by_style
from producer.search.vectors import ReadRows
from tests.support.vector_rows import (
    FAILED,
    Parts,
    key_of,
    palette,
    part,
    pipeline_of,
    shades,
    vector,
    vector_parts,
)

BY_VECTOR = StyleColumns(("embedding",), ())
BY_COLOURS = StyleColumns((), ("colours",))
BY_BOTH = StyleColumns(("embedding",), ("colours",))


def grouped(parts: ReadRows, columns: StyleColumns, count: int, seed: int = 0) -> Grouping:
    done: list[int] = []
    found = group_by_style(parts, columns, count, seed, done.append)
    assert done[-1:] in ([], [2 * found.table.num_rows])
    return found


def planted(sizes: list[int], numbers: int = 32) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Vectors around as many centres, in any order, and which centre each is around."""
    random = np.random.default_rng(1)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = random.standard_normal((len(sizes), numbers)) * 3
    return centres[labels] + random.standard_normal((len(labels), numbers)) / 3, labels


def keys_by_group(found: Grouping) -> list[list[str]]:
    keys = defaultdict(list)
    for row in found.table.to_pylist():
        keys[row["group"]].append(row["key"])
    return [keys[number] for number in sorted(keys)]


def test_planted_groups_are_found_the_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "BATCH_ROWS", 50)
    monkeypatch.setattr(groups_module, "_SAMPLED_PER_GROUP", 40)  # fewer than there are images
    vectors, labels = planted([30, 90, 60])
    parts = vector_parts(vectors, 100, 80)
    found = grouped(parts, BY_VECTOR, 3)
    assert parts.reads == 2
    assert [(group.number, group.images) for group in found.groups] == [(1, 90), (2, 60), (3, 30)]
    wanted = [[key_of(n) for n in np.flatnonzero(labels == label)] for label in (1, 2, 0)]
    assert keys_by_group(found) == wanted
    assert found.table["key"].to_pylist() == [key_of(number) for number in range(180)]


def test_the_most_typical_images_are_those_nearest_to_the_centre(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors_module, "BATCH_ROWS", 33)
    vectors, labels = planted([40, 100])
    found = grouped(vector_parts(vectors, 60, 80), BY_VECTOR, 2)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    members = np.flatnonzero(labels == 1)
    far = np.linalg.norm(units[members] - units[members].mean(axis=0), axis=1)
    wanted = [key_of(number) for number in members[np.argsort(far)][:TYPICAL_IMAGES]]
    assert [item.key for item in found.groups[0].typical] == wanted


def test_the_same_seed_gives_the_same_groups() -> None:
    vectors = np.random.default_rng(2).standard_normal((300, 16))
    parts = vector_parts(vectors, 300)
    first, again, other = (grouped(parts, BY_VECTOR, 8, seed) for seed in (5, 5, 6))
    assert first.table.equals(again.table)
    assert first.groups == again.groups
    assert not first.table.equals(other.table)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_there_are_no_more_groups_than_images_that_differ(count: int) -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = grouped(vector_parts(vectors, 1, 2), BY_VECTOR, count)
    assert len(found.groups) == min(count, 2)
    if count > 1:
        assert keys_by_group(found) == [[key_of(0), key_of(2)], [key_of(1)]]


@pytest.mark.parametrize("images", [1, 5, 300])
def test_images_that_are_all_alike_are_one_group(images: int) -> None:
    found = grouped(vector_parts(np.full((images, 3), 0.7), images), BY_VECTOR, 12)
    assert [group.images for group in found.groups] == [images]
    assert len(found.groups[0].typical) == min(images, TYPICAL_IMAGES)


def test_a_job_in_which_nothing_succeeded_has_no_groups() -> None:
    pipeline = pipeline_of(embedding=vector(2))
    for parts in (Parts(), Parts(part(pipeline, 0, embedding=[FAILED, FAILED]))):
        found = grouped(parts, BY_VECTOR, 3)
        assert found.groups == []
        assert found.table.num_rows == 0
        assert found.table.schema.names == ["key", "group"]


def test_images_that_failed_have_no_group() -> None:
    pipeline = pipeline_of(embedding=vector(2))
    parts = Parts(part(pipeline, 0, embedding=[[1.0, 0.0], FAILED, [0.0, 1.0]]))
    assert keys_by_group(grouped(parts, BY_VECTOR, 2)) == [[key_of(0)], [key_of(2)]]


def test_copies_of_an_image_are_shown_once() -> None:
    (table,) = vector_parts(np.random.default_rng(0).random((90, 4)), 90)()
    etags = pa.array([f"e{number % 3}" for number in range(90)])
    copies = table.set_column(table.schema.get_field_index("etag"), "etag", etags)
    (group,) = grouped(lambda: [copies], BY_VECTOR, 1).groups
    assert sorted(item.etag for item in group.typical) == ["e0", "e1", "e2"]


def test_colours_alone_part_images() -> None:
    pipeline = pipeline_of(colours=palette())
    red = shades(("#c00000", 0.7), ("#200000", 0.3))
    rose = shades(("#b81010", 0.6), ("#280000", 0.4))
    sea = shades(("#0040c0", 0.9), ("#c0c0c0", 0.1))
    parts = Parts(part(pipeline, 0, colours=[red, sea, rose, sea, FAILED]))
    found = grouped(parts, BY_COLOURS, 2)
    assert keys_by_group(found) == [[key_of(0), key_of(2)], [key_of(1), key_of(3)]]


def test_vectors_and_colours_count_the_same() -> None:
    """Two groups by each: only both of them give the four."""
    pipeline = pipeline_of(embedding=vector(2), colours=palette())
    vectors = [[1.0, 0.0], [0.0, 1.0]] * 10
    colours = [shades(("#c00000", 1.0))] * 10 + [shades(("#0040c0", 1.0))] * 10
    parts = Parts(part(pipeline, 0, embedding=vectors, colours=colours))
    found = grouped(parts, BY_BOTH, 4)
    assert [len(keys) for keys in keys_by_group(found)] == [5, 5, 5, 5]
    assert keys_by_group(found)[0] == [key_of(number) for number in (0, 2, 4, 6, 8)]


def test_numbers_of_a_palette_are_weighted_by_area() -> None:
    column = palette().answer_type()
    pipeline = pipeline_of(colours=palette())
    data = part(
        pipeline,
        0,
        colours=[shades(("#ffffff", 0.25), ("#000000", 0.75)), [], shades(("#ff0000", 0.5))],
    )
    (table,) = Parts(data)()
    numbers = style_numbers(table["colours"].combine_chunks().cast(column))
    mean, deviation = numbers[0, 0], numbers[0, 3]
    assert mean == pytest.approx(25, abs=0.1)
    assert deviation == pytest.approx(100 * (0.25 * 0.75) ** 0.5, abs=0.1)
    assert not numbers[1].any()
    assert numbers[2, :STATISTICS] == pytest.approx([53.24, 80.09, 67.2, 0, 0, 0], abs=0.1)
    assert np.square(numbers[:, STATISTICS:]).sum(axis=1) == pytest.approx([1, 0, 1])
