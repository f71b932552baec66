"""Conditions, lowest scores, samples, orders and limits, alone and together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from producer.selecting import gathered
from producer.selecting.selection import Selection
from shared.analyses.classes import Classes
from shared.errors import UsageError
from shared.pipeline import Pipeline
from shared.rows import rows_schema
from tests.support import labelled_rows, samples
from tests.support.labelled_rows import (
    SCHEMA,
    SHORT_SCHEMA,
    VIEW,
    box,
    classes,
    detector,
    failed,
    row,
    short,
)
from tests.support.samples import MODEL, long_pipeline

LONG = [
    row(0, box("cat", 0.9), box("dog", 0.4), kind=classes("tabby", 0.7, ("fox", 0.2))),
    row(1, box("dog", 0.6), kind=classes("cat", 0.3)),
    row(2, kind=classes("Katze 🐈=böse", 0.9)),
    failed(3),
    row(4, box("cat", 0.5), warning="damaged_data", kind=classes("fox", 0.4)),
]
SHORT = [
    short(0, "cat", 0.7),
    short(1, "dog", 0.5, warning="damaged_data"),
    failed(2),
    short(3, "cat", 0.2),
    short(4, "", 0.9),
]


def select(
    rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, **options: Any
) -> list[dict[str, Any]]:
    selection = Selection.parse(schema, **options)
    found = list(selection.of(labelled_rows.tables(rows, schema)))
    assert all(table.schema.equals(schema) for table in found)
    for table in found:
        table.validate(full=True)
    return [one for table in found for one in table.to_pylist()]


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(one["etag"][1:]) for one in rows]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("label=cat", [0, 3]),
        ("label!=cat", [1, 2, 4]),
        ("label=", [4]),
        ("predictions.label=dog", [1]),
        ("status=failed", [2]),
        ("status!=failed", [0, 1, 3, 4]),
        ("error_code=corrupt", [2]),
        ("warning=damaged_data", [1]),
        ("warning!=damaged_data", [0, 2, 3, 4]),
        ("key=in/000[13].jpg", [1, 3]),
        ("key!=*0.jpg", [1, 2, 3, 4]),
        ("name=0004.*", [4]),
        ("uri=s3://photos/in/0000.jpg", [0]),
        ("size=97", [3]),
        ("width=640", [0, 1, 3, 4]),
        ("score=0.7", [0]),  # as float32 has it
        ("score=nan", []),
    ],
)
def test_where_in_the_short_form(condition: str, expected: list[int]) -> None:
    assert numbers(select(SHORT, SHORT_SCHEMA, where=[condition])) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("label=cat", [0, 1, 4]),  # a box, a class, a box
        ("label!=cat", [2, 3]),
        ("label=Katze 🐈=böse", [2]),
        ("label=Katze 🐈", []),
        ("objects.label=cat", [0, 4]),
        ("objects.label!=cat", [1, 2, 3]),
        ("kind.label=fox", [4]),
        ("kind.predictions=fox", None),
        ("objects.score=0.6", [1]),
        ("objects.x1=10", [0, 1, 4]),
    ],
)
def test_where_in_the_long_form(condition: str, expected: list[int] | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="no field"):
            select(LONG, where=[condition])
        return
    assert numbers(select(LONG, where=[condition])) == expected


def test_where_looks_into_values_of_any_type() -> None:
    schema = rows_schema(samples.catalogue())
    rows = [{**row(n), **samples.CATALOGUE_ANSWER} for n in range(2)]
    rows[1]["extra"] = {"text": "è", "n": [3]}
    for condition, expected in (
        ("extra.n=2", [0]),
        ("extra.text=è", [1]),
        ("colours.name=dodgerblue", [0, 1]),
    ):
        assert numbers(select(rows, schema, where=[condition])) == expected


def test_all_conditions_have_to_hold() -> None:
    found = select(LONG, where=["objects.label=cat", "objects.label=dog"])
    assert numbers(found) == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": ["lable=cat"]}, "no field 'lable'. Did you mean label?"),
        ({"where": ["objetcs.label=cat"]}, "no field 'objetcs.label'. Did you mean objects.label?"),
        ({"where": ["label"]}, "not FIELD=VALUE"),
        ({"where": ["=cat"]}, "not FIELD=VALUE"),
        ({"where": [""]}, "not FIELD=VALUE"),
        ({"where": ["size=big"]}, "size is a number"),
        ({"where": [f"size={10**30}"]}, "size is a number"),
        ({"where": ["size=1.5"]}, "size is a number"),
        ({"where": ["label=\udcff"]}, "not UTF-8"),
        ({"where": ["scored_at=2026"]}, "cannot compare scored_at"),
        ({"where": ["label==cat"]}, "there is no ==, only = and !=. Say --where label=cat"),
        ({"where": ["label!==cat"]}, "there is no !=="),
        ({"where": ["objects.score>0.5"]}, "there is no >, only = and !=. For a lowest score say"),
        ({"where": ["score >= 0.5"]}, "--min-score"),
        ({"where": ["size<9"]}, "there is no <"),
        ({"where": ["objects=cat"]}, "objects has several fields. Name one of them: objects.label"),
        ({"where": ["models=tiny"]}, "models has several fields. Name one of them: models."),
        ({"where": ["object=cat"]}, "Did you mean objects?"),
        ({"where": ["qqq=cat"]}, "There are label, score, job_id, "),
        ({"sort": "objects"}, "--sort: objects has several fields."),
        ({"seed": 3}, "--seed is for --sample"),
        ({"where": ["model=tiny"]}, "no field 'model'"),
        ({"sort": "scor"}, "no field 'scor'. Did you mean score?"),
        ({"sort": "--score"}, "no field '-score'"),
        ({"sort": "label"}, "several values of label"),
        ({"min_score": float("nan")}, "nan is not a score"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(LONG, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_min_score_leaves_rows_of_the_short_form_out() -> None:
    assert numbers(select(SHORT, SHORT_SCHEMA, min_score=0.5)) == [0, 1, 4]
    assert numbers(select(SHORT, SHORT_SCHEMA, min_score=0.7)) == [0, 4]  # as float32 has it


def test_min_score_leaves_boxes_and_predictions_of_the_long_form_out() -> None:
    found = select(LONG, min_score=0.5)
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert [one["objects"] and [b["label"] for b in one["objects"]] for one in found] == [
        *(["cat"], ["dog"], [], None, ["cat"])
    ]
    assert [one["kind"] and one["kind"]["label"] for one in found] == [
        *("tabby", None, "Katze 🐈=böse", None, None)
    ]
    assert [len(one["kind"]["predictions"]) for one in found if one["kind"]] == [1, 0, 1, 0]


def test_conditions_see_only_what_scores_enough() -> None:
    assert numbers(select(LONG, min_score=0.6, where=["label=cat"])) == [0]
    assert numbers(select(LONG, min_score=0.6, where=["objects.label=dog"])) == [1]


def test_signs_in_a_value_are_taken_literally() -> None:
    rows = [row(0, box("a==b", 0.9)), row(1, box("<x>", 0.9)), row(2, box("!=", 0.9))]
    for number, label in enumerate(["a==b", "<x>", "!="]):
        assert numbers(select(rows, where=[f"label={label}"])) == [number]


def test_an_unknown_field_is_answered_with_each_column_once() -> None:
    with pytest.raises(UsageError) as caught:
        select(LONG, where=["qqq=cat"])
    assert "objects, kind, models." in str(caught.value)
    assert "objects.x1" not in str(caught.value)


@pytest.mark.parametrize("lowest", [50, -0.1, 1.01])
@pytest.mark.parametrize(
    "pipeline", [detector(), samples.pipeline(postprocess={"softmax": True})], ids=["long", "short"]
)
def test_min_score_is_a_share_where_scores_are(lowest: float, pipeline: Pipeline) -> None:
    schema = rows_schema(pipeline)
    with pytest.raises(UsageError, match="scores are from 0 to 1, and"):
        Selection.parse(schema, min_score=lowest, pipeline=pipeline)
    for bound in (0, 1):
        Selection.parse(schema, min_score=bound, pipeline=pipeline)
    Selection.parse(schema, min_score=lowest)  # of another version


def test_min_score_is_any_number_for_logits_and_classes() -> None:
    logits = Classes(model=MODEL.name, view=VIEW, softmax=False)
    for pipeline in (long_pipeline({"kind": logits}, (MODEL,)), samples.catalogue()):
        Selection.parse(rows_schema(pipeline), min_score=50, pipeline=pipeline)


def test_min_score_needs_scores() -> None:
    with pytest.raises(UsageError, match="none of the job's analyses gives scores"):
        select([], rows_schema(samples.palettes()), min_score=0.5)


@pytest.mark.parametrize("bound", [1, 4, gathered.MAX_ROWS])
@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("score", [3, 1, 0, 4, 2]),
        ("-score", [4, 0, 1, 3, 2]),
        ("-key", [4, 3, 2, 1, 0]),
        ("label", [4, 0, 3, 1, 2]),  # equal rows keep their order
        ("-label", [1, 0, 3, 4, 2]),
        ("-size", [0, 1, 2, 3, 4]),
    ],
)
def test_sorting_with_any_number_of_runs(
    sort: str, expected: list[int], bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "MAX_ROWS", bound)
    assert numbers(select(SHORT, SHORT_SCHEMA, sort=sort)) == expected
    assert numbers(select(SHORT, SHORT_SCHEMA, sort=sort, limit=2)) == expected[:2]


def test_rows_of_the_long_form_sort_by_their_best_score() -> None:
    assert numbers(select(LONG, sort="-objects.score")) == [0, 1, 4, 2, 3]
    assert numbers(select(LONG, sort="-score")) == [0, 2, 1, 4, 3]
    assert numbers(select(LONG, sort="kind.label")) == [2, 1, 4, 0, 3]


CATS = [
    row(0, box("laptop", 0.93), box("cat", 0.71), kind=classes("cat", 0.1)),
    row(1, box("cat", 0.84), box("cat", 0.2), kind=classes("laptop", 0.99)),
    row(2, box("laptop", 0.6), box("cat", 0.5, 90), kind=classes("cat", 0.95)),
    failed(3),
    row(4, kind=classes("cat", 0.75)),
]


@pytest.mark.parametrize("bound", [1, 3, gathered.MAX_ROWS])
@pytest.mark.parametrize(
    ("where", "sort", "expected"),
    [
        (["objects.label=cat"], "-score", [1, 0, 2]),
        (["objects.label=cat"], "-objects.score", [1, 0, 2]),
        (["objects.label=cat"], "-objects.x1", [2, 0, 1]),
        (["label=cat"], "-score", [2, 1, 4, 0]),
        (["label=cat"], "score", [0, 4, 1, 2]),
        (["label=cat"], "-objects.score", [1, 0, 2, 4]),
        (["kind.label=cat"], "-score", [2, 4, 0]),
        (["kind.label=cat"], "-objects.score", [0, 2, 4]),
        (["objects.label=cat", "objects.label=laptop"], "-objects.score", [0, 2]),
        (["label!=dog"], "-objects.score", [0, 1, 2, 3, 4]),
        (["status=ok", "objects.label=cat"], "-objects.score", [1, 0, 2]),
        (["objects.x1=90"], "-objects.score", [2]),
    ],
)
def test_with_a_label_only_its_boxes_decide_the_order(
    where: list[str], sort: str, expected: list[int], bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "MAX_ROWS", bound)
    assert numbers(select(CATS, where=where, sort=sort)) == expected
    assert numbers(select(CATS, where=where, sort=sort, limit=2)) == expected[:2]


def test_predictions_of_a_label_decide_the_order_of_the_short_form() -> None:
    rows = [
        short(n, "dog", 0.9, predictions=[{"label": "dog", "score": 0.9}, {"label": "cat", **s}])
        for n, s in enumerate([{"score": 0.05}, {"score": 0.3}, {"score": 0.1}])
    ]
    found = select(rows, SHORT_SCHEMA, where=["predictions.label=cat"], sort="-predictions.score")
    assert numbers(found) == [1, 2, 0]


def test_rows_sort_by_values_of_a_class() -> None:
    schema = rows_schema(samples.catalogue())
    values = [("b", [1, 9]), ("c", []), ("a", [3])]
    rows = [{**row(n), "extra": {"text": t, "n": each}} for n, (t, each) in enumerate(values)]
    assert numbers(select(rows, schema, sort="extra.text")) == [2, 0, 1]
    assert numbers(select(rows, schema, sort="-extra.n")) == [0, 2, 1]


def test_many_rows_sort_as_python_sorts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "MAX_ROWS", 700)
    rows = [short(n, "cat", (n * 7919 % 5003) / 5003) for n in range(3000)]
    found = select(rows, SHORT_SCHEMA, sort="-score")
    assert numbers(found) == numbers(sorted(rows, key=lambda one: -one["score"]))


def test_a_sample_follows_from_its_seed_however_rows_are_cut_into_tables() -> None:
    def drawn(seed: int, size: int) -> list[int]:
        rows = [short(n, "cat", 0.5) for n in range(200)]
        found = Selection(sample=20, seed=seed).of(
            labelled_rows.tables(rows, SHORT_SCHEMA, size=size)
        )
        return numbers([one for table in found for one in table.to_pylist()])

    first = drawn(0, 1)
    assert len(first) == 20
    assert first == sorted(set(first)) == drawn(0, 7) == drawn(0, 1000)
    assert first != drawn(1, 7)


def test_a_sample_takes_every_row_as_often() -> None:
    rows = labelled_rows.tables([short(n, "cat", 0.5) for n in range(40)], SHORT_SCHEMA)
    counts: Counter[str] = Counter()
    for seed in range(400):
        for table in Selection(sample=10, seed=seed).of(rows):
            counts.update(table["key"].to_pylist())
    assert len(counts) == 40
    assert all(60 < count < 140 for count in counts.values())  # 100 ± 4.6 deviations


@pytest.mark.parametrize(
    "options", [{"sample": 50}, {"sort": "-score"}, {"sort": "key", "limit": 9}]
)
def test_memory_does_not_grow_with_the_job(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "MAX_ROWS", 200)
    row_bytes = 10_000
    before, most, count = pa.total_allocated_bytes(), 0, 0

    def made() -> Iterator[pa.Table]:
        nonlocal most
        for _ in range(200):
            rows = [short(n, "l" * row_bytes, n % 89 / 89) for n in range(20)]
            yield from labelled_rows.tables(rows, SHORT_SCHEMA, size=20)
            most = max(most, pa.total_allocated_bytes() - before)

    for table in Selection.parse(SHORT_SCHEMA, **options).of(made()):
        count += table.num_rows
    assert count == min(4000, options.get("sample", 4000), options.get("limit", 4000))
    # Of the 4,000 rows: a run, its sorted copy, and the tables that come and go.
    assert most < 4 * 200 * 2 * row_bytes


def test_a_larger_sample_than_there_are_rows_has_them_all() -> None:
    assert numbers(select(SHORT, SHORT_SCHEMA, sample=99)) == [0, 1, 2, 3, 4]
    assert select([], SHORT_SCHEMA, sample=9, sort="key") == []


def test_options_together_apply_in_their_order() -> None:
    rows = [short(n, "cat" if n % 2 else "dog", n / 100) for n in range(100)]
    options = {"min_score": 0.5, "where": ["label=cat"], "sample": 10}
    drawn = numbers(select(rows, SHORT_SCHEMA, **options))
    assert len(drawn) == 10
    assert all(n % 2 and n >= 50 for n in drawn)
    best = numbers(select(rows, SHORT_SCHEMA, **options, sort="-score", limit=3))
    assert best == drawn[:-4:-1]
