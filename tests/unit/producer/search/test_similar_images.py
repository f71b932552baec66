"""The most similar images, against all cosines in float64."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from producer.search import vectors as vectors_module
from producer.search.nearest import most_similar, no_such_key, vector_of_key
from producer.search.vectors import by_models_of, scaled_to_unit, vector_column
from shared.errors import HeadraceError, UsageError
from shared.rows import MODELS
from tests.support.samples import pipeline
from tests.support.vector_rows import (
    FAILED,
    Parts,
    key_of,
    palette,
    part,
    pipeline_of,
    vector,
    vector_parts,
)


def expected(
    vectors: npt.NDArray[Any], query: npt.NDArray[Any], count: int
) -> list[tuple[str, float]]:
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(query.astype(np.float64))
    cosines = exact @ query.astype(np.float64) / np.where(lengths > 0, lengths, 1)
    order = np.argsort(-np.round(cosines, 6), kind="stable")[:count]
    return [(key_of(number), cosines[number]) for number in order.tolist()]


def found(
    parts: Parts, query: Sequence[float] | npt.NDArray[Any], count: int, **options: Any
) -> list[tuple[str, float]]:
    vector = scaled_to_unit(np.array([query], np.float32))
    images = most_similar(parts, "embedding", vector, count, **options)
    assert all(image.etag == f"e{int(image.key[3:7])}" for image in images)
    return [(image.key, image.score) for image in images]


@pytest.mark.parametrize("count", [1, 10, 99, 100, 101, 400])
@pytest.mark.parametrize("batch_rows", [7, 4096])
def test_search_is_exact(count: int, batch_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "BATCH_ROWS", batch_rows)
    random = np.random.default_rng(count)
    vectors = random.standard_normal((300, 24)).astype(np.float32)  # of any length
    parts, query = vector_parts(vectors, 1, 150, 149), random.standard_normal(24)
    wanted = expected(vectors, query, count)
    got = found(parts, query, count)
    assert [key for key, _ in got] == [key for key, _ in wanted]
    assert [score for _, score in got] == pytest.approx([s for _, s in wanted], abs=2e-6)
    assert parts.reads == 1


@pytest.mark.parametrize("seed", range(20))
def test_images_that_are_equally_like_it_come_in_the_order_of_the_rows(seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(-1, 2, (250, 3)).astype(np.float32)
    query = np.array([1, 1, random.integers(-1, 2)], np.float32)
    for count in (1, 5, 100, 250):
        wanted = [key for key, _ in expected(vectors, query, count)]
        assert [key for key, _ in found(vector_parts(vectors, 100, 150), query, count)] == wanted


def test_the_image_itself_is_left_out_and_its_copies_are_not() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 1280)).astype(np.float32)
    vectors[[7, 30]] = vectors[12]
    parts = vector_parts(vectors, 20, 20)
    query = vector_of_key(parts, "embedding", key_of(12))
    assert query is not None
    got = found(parts, query[0], 3, without=key_of(12))
    assert got[:2] == [(key_of(7), 1.0), (key_of(30), 1.0)]
    assert len(got) == 3
    assert got[2][1] < 0.5
    assert len(found(parts, query[0], 100, without=key_of(12))) == 39


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1.0, 1e19, 3e38])
def test_length_does_not_matter_however_large(scale: float) -> None:
    vectors = np.array([[0.6, 0.8], [-1.0, 0.5], [1.0, 0.0]])
    parts = vector_parts((vectors * scale).astype(np.float32), 3)
    got = found(parts, [1.0, 0.0], 3)
    assert got == [(key_of(2), 1.0), (key_of(0), 0.6), (key_of(1), pytest.approx(-0.894427))]


def test_a_vector_of_zeros_is_like_nothing() -> None:
    parts = vector_parts(np.array([[0.0, 0.0], [1.0, 1.0]]), 2)
    assert found(parts, [1.0, 1.0], 2) == [(key_of(1), 1.0), (key_of(0), 0.0)]
    assert found(parts, [0.0, 0.0], 2) == [(key_of(0), 0.0), (key_of(1), 0.0)]


def test_images_that_failed_are_not_found() -> None:
    pipeline = pipeline_of(embedding=vector(2))
    parts = Parts(
        part(pipeline, 0, embedding=[FAILED, [1.0, 0.0]]),
        part(pipeline, 2, embedding=[FAILED, FAILED]),
        part(pipeline, 4, embedding=[[0.0, 1.0], FAILED]),
    )
    assert [key for key, _ in found(parts, [0.0, 1.0], 9)] == [key_of(4), key_of(1)]
    with pytest.raises(HeadraceError, match="corrupt: It is damaged") as raised:
        vector_of_key(parts, "embedding", key_of(3))
    assert raised.value.code == "image_failed"


def test_a_job_without_rows_has_no_similar_images() -> None:
    assert found(Parts(), [1.0], 3) == []
    assert vector_of_key(Parts(), "embedding", "a.jpg") is None
    assert "no rows yet" in str(no_such_key(Parts(), "a.jpg"))


def test_a_key_is_looked_for_no_further_than_its_part() -> None:
    parts = vector_parts(np.eye(3), 1, 1, 1)
    parts.parts = (*parts.parts[:2], b"a part that nobody may read")
    got = vector_of_key(parts, "embedding", key_of(1))
    assert got is not None
    assert got.tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("0001.jpg", "Did you mean 'in/0001.jpg'?"),
        ("s3://photos/in/0001.JPG", "Did you mean 'in/0001.jpg'?"),
        ("in/001.jpg", "Did you mean 'in/0001.jpg'"),
        ("xyz", "There are, for example, 'in/0000.jpg', 'in/0001.jpg', 'in/0002.jpg'."),
    ],
)
def test_a_key_that_is_none_names_near_ones(key: str, hint: str) -> None:
    assert hint in no_such_key(vector_parts(np.eye(4), 2, 2), key).hint


def test_the_column_is_the_only_one_or_has_to_be_named() -> None:
    both = pipeline_of(embedding=vector(2), colours=palette(), style=vector(3))
    assert vector_column(pipeline_of(colours=palette(), style=vector(3)), None) == "style"
    assert vector_column(both, "style") == "style"
    for wanted in (None, "colours", "no-such"):
        with pytest.raises(UsageError, match="Say --column embedding or --column style"):
            vector_column(both, wanted)
    for without in (pipeline(), pipeline_of(colours=palette())):
        with pytest.raises(UsageError, match="embed or catalogue"):
            vector_column(without, None)


def test_rows_of_another_version_of_the_model_are_left_out() -> None:
    pipeline = pipeline_of(embedding=vector(2), style=vector(2))
    vectors = [[1.0, 0.0]] * 4
    (table,) = Parts(part(pipeline, 0, embedding=vectors, style=vectors))()
    versions = [("a", "a"), ("b", "a"), ("a", "b"), ("b", "b")]
    models = [
        [
            {"analysis": name, "version": letter * 64}
            for name, letter in zip(("embedding", "style"), letters, strict=True)
        ]
        for letters in versions
    ]
    place = table.schema.get_field_index("models")
    mixed = table.set_column(place, "models", pa.array(models, MODELS))

    def left(*columns: str) -> list[str]:
        (kept,) = by_models_of(pipeline, columns, [mixed])
        return kept["key"].to_pylist()

    assert left("embedding") == [key_of(0), key_of(2)]
    assert left("style") == [key_of(0), key_of(1)]
    assert left() == [key_of(number) for number in range(4)]
    (untouched,) = by_models_of(pipeline, ["embedding"], [table])
    assert untouched is table


def test_where_faiss_is_missing_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without_faiss(name: str, *rest: Any, **options: Any) -> Any:
        if name == "faiss":
            raise ModuleNotFoundError("No module named 'faiss'")
        return whole(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_faiss)
    with pytest.raises(HeadraceError, match="make install") as raised:
        found(vector_parts(np.eye(2), 2), [1.0, 0.0], 1)
    assert raised.value.code == "no_faiss"
