"""What can be known to fail is refused at enqueue, with the nearest that would not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from producer.jobs import JobRequest, submit
from producer.jobs.checks import PROBE, _starts
from producer.stack.rights.store_identities import store_policies
from shared.errors import HeadraceError
from shared.job import JobSpec
from shared.keys import output_manifest_key, part_key, success_key
from shared.storage import AccessDenied, parse_s3_url
from tests.support.fake_connections import Fake, fake_connections
from tests.support.memory_store import MemoryStore

KEYS = ("summer/a.jpg", "summer/b.JPG", "summer/old/c.png", "winter/d.jpg")


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path)
    fake.put_images("photos", *KEYS)
    return fake


def enqueue(fake: Fake, source: str = "s3://photos/summer/", **options: object) -> JobSpec:
    request = dataclasses.replace(JobRequest(source, str(fake.pipeline)), **options)  # type: ignore[arg-type]

    def tell(text: str) -> None:
        if not text.startswith("packed "):
            fake.warnings.append(text)

    return submit(fake.connections, request, fake.warnings.append, tell=tell)


def refused(fake: Fake, source: str = "s3://photos/summer/", **options: object) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        enqueue(fake, source, **options)
    assert fake.store.buckets["state"] == {}, "nothing is written"
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("s3://photo", "Did you mean 'photos'?"),
        ("s3://fotos/summer", "Did you mean 'photos'?"),
        ("s3://something-else", "There are: empty, photos"),
        ("s3://photos/sumer", "Did you mean 's3://photos/summer/'?"),
        ("s3://photos/summer/a.jpeg", "Did you mean 's3://photos/summer/a.jpg'?"),
        ("s3://photos/none/at/all", "There are: 'summer/', 'winter/'"),
        ("s3://photos/summer/*.jpg", "s3://photos/summer/ --include 'summer/*.jpg'"),
        ("s3://photos/*/old", "s3://photos/ --include '*/old'"),
        ("s3://phot?s/summer", "patterns are for keys"),
        ("s3://empty", "headrace upload DIR s3://empty"),
        ("gs://photos/summer", "Write it as s3://BUCKET/PREFIX"),
        ("photos/summer", "Write it as s3://BUCKET/PREFIX"),
        ("s3://photos/\udcff", "not UTF-8"),
        ("s3://models", "Headrace's own"),
        ("s3://state/jobs", "Headrace's own"),
    ],
)
def test_a_source_that_is_not_there(fake: Fake, source: str, says: str) -> None:
    fake.store.make_bucket("empty")
    assert says in str(refused(fake, source))


def test_a_bucket_that_is_missing_may_lie_in_another_store(fake: Fake) -> None:
    for error in (refused(fake, "s3://other"), refused(fake, output="s3://other/x")):
        assert error.code == "bucket_missing"
        assert "config/stores.yaml" in error.hint


def test_credentials_that_see_no_buckets_still_get_the_error(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: MemoryStore) -> list[str]:
        raise AccessDenied("access_denied", "no")

    monkeypatch.setattr(MemoryStore, "bucket_names", refuse)
    assert refused(fake, "s3://photo").code == "bucket_missing"


@pytest.mark.parametrize("form", ["{}", "~/photos of mine", "./photos of mine", "photos of mine"])
def test_a_folder_is_to_be_uploaded_first(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (tmp_path / "photos of mine").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    error = refused(fake, form.format(tmp_path / "summer"))
    assert "headrace upload " in error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"include": ("*.gif",)}, ["--include '*.gif'"]),
        ({"include": ("*.gif", "*.bmp")}, ["'*.gif'", "'*.bmp'"]),
        ({"include": ("a.jpg",)}, ["'summer/a.jpg'"]),  # which it would match with its folder
        ({"include": ("summer/B.*",)}, ["'summer/b.JPG'"]),
        ({"include": ("winter/*",)}, ["'winter/*'"]),
        ({"exclude": ("*",)}, ["--exclude '*'", "'summer/a.jpg'"]),
        ({"include": ("*.jpg",), "exclude": ("*a*",)}, ["--include", "--exclude"]),
    ],
)
def test_filters_that_leave_nothing_are_named_with_keys_that_are_there(
    fake: Fake, options: dict[str, tuple[str, ...]], named: list[str]
) -> None:
    error = refused(fake, **options)
    assert error.code == "no_images"
    for text in (*named, "'summer/"):
        assert text in str(error)


def test_a_pattern_may_not_be_empty(fake: Fake) -> None:
    for option in ("include", "exclude"):
        error = refused(fake, **{option: ("*.jpg", "")})
        assert (error.message, error.exit_code) == (f"--{option}: a pattern is empty.", 2)


def test_there_may_be_at_most_100_patterns(fake: Fake) -> None:
    for option in ("include", "exclude"):
        error = refused(fake, **{option: tuple(f"{number}*" for number in range(101))})
        assert (error.message, error.exit_code) == (f"--{option}: at most 100 patterns.", 2)


@pytest.mark.parametrize(
    ("prefix", "include", "starts"),
    [
        ("a/", (), {"a/"}),
        ("a/", ("*.jpg", "*.png", "a*", "a/b*"), {"a/"}),
        ("a/", ("a/b*", "a/b?", "a/c/*", "x*"), {"a/b", "a/c/"}),
        ("a/", ("x*",), set()),
    ],
)
def test_under_which_prefixes_is_looked_once(
    fake: Fake, prefix: str, include: tuple[str, ...], starts: set[str]
) -> None:
    spec = enqueue(fake).model_copy(update={"prefix": prefix, "include": include})
    assert _starts(spec) == starts


def test_patterns_are_repeated_in_any_order(fake: Fake) -> None:
    first = enqueue(fake, job_id="mine", include=("*.png", "*.jpg", "*.png"))
    assert enqueue(fake, job_id="mine", include=("*.jpg", "*.png")) == first
    with pytest.raises(HeadraceError, match="include"):
        enqueue(fake, job_id="mine", include=("*.jpg",))


def fill(fake: Fake, *keys: str) -> None:
    fake.put_images("large", *(f"a/{number:05}.txt" for number in range(2500)), *keys)


def test_a_key_after_the_first_thousand_is_found(fake: Fake) -> None:
    fill(fake, "z/x.jpg")
    assert enqueue(fake, "s3://large", include=("*.gif", "*.jpg"))
    assert "--include '*.jpg'" in fake.warnings[0], "it says what it is looking for"


def test_a_large_prefix_without_one_is_refused(fake: Fake) -> None:
    fill(fake)
    assert refused(fake, "s3://large", include=("*.jpg",)).code == "no_images"


def test_what_a_pattern_begins_with_narrows_the_look(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(fake, "z/x.jpg")
    listed: list[str] = []
    whole = fake.store.list

    def noting(bucket: str, prefix: str = "") -> object:
        listed.append(prefix)
        return whole(bucket, prefix)

    monkeypatch.setattr(fake.store, "list", noting)
    assert enqueue(fake, "s3://large", include=("z/*.jpg",))
    assert listed[:2] == ["", "z/"]


def test_after_some_seconds_the_job_itself_looks_through_the_rest(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(fake)
    clock: Callable[[], int] = itertools.count(step=6).__next__
    monkeypatch.setattr("producer.jobs.checks.time.monotonic", clock)
    assert enqueue(fake, "s3://large", include=("*.jpg",))
    assert "the job looks through all keys" in fake.warnings[1]


def test_folder_markers_are_no_images(fake: Fake) -> None:
    fake.store.make_bucket("folders")
    fake.store.put("folders", "a/", b"")
    assert "only folder markers" in str(refused(fake, "s3://folders"))


def denied_to_the_collector() -> list[str]:
    statements = store_policies()["collector"]["Statement"]
    denied = [one for one in statements if one["Effect"] == "Deny"]
    return [name.rpartition(":")[2] for one in denied for name in one["Resource"]]


def test_an_output_that_the_collector_may_not_write_is_refused(fake: Fake) -> None:
    """Though who enqueues may: the command line is the store's administrator."""
    assert denied_to_the_collector() == ["models/*"]
    for pattern in denied_to_the_collector():
        bucket = pattern.partition("/")[0]
        assert refused(fake, output=f"s3://{bucket}/x").code == "output_not_writable"
    assert refused(fake, output="s3://state/jobs").code == "output_not_writable"


def test_the_collector_may_write_any_other(fake: Fake) -> None:
    spec = enqueue(fake, output="s3://photos/out")
    statements = store_policies()["collector"]["Statement"]
    allowed = [
        name.rpartition(":")[2]
        for one in statements
        for name in one["Resource"]
        if one["Effect"] == "Allow" and "s3:PutObject" in one["Action"]
    ]
    for key in (part_key(spec, 0), output_manifest_key(spec), success_key(spec)):
        assert any(fnmatchcase(f"photos/{key}", pattern) for pattern in allowed)


@pytest.mark.parametrize("name", ["manifest.json", "_SUCCESS", "rows/part-00000.parquet"])
def test_an_output_folder_of_another_job_is_refused(fake: Fake, name: str) -> None:
    fake.put_images("results", f"out/mine/{name}")
    error = refused(fake, job_id="mine", output="s3://results/out/")
    assert error.code == "output_taken"
    assert "s3://results/out/mine/" in str(error)
    assert enqueue(fake, job_id="mine", output="s3://results/elsewhere")


def test_what_was_left_of_a_check_is_no_output(fake: Fake) -> None:
    fake.put_images("results", f"mine/{PROBE}", "mine/merged.csv")
    assert enqueue(fake, job_id="mine")


def test_credentials_that_may_only_write_will_do(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("list", "delete"):
        own = getattr(MemoryStore, name)

        def refuse(self: MemoryStore, bucket: str, key: str = "", own: object = own) -> object:
            if bucket == "drop-box":
                raise AccessDenied("access_denied", "no")
            return own(self, bucket, key)  # type: ignore[operator]

        monkeypatch.setattr(MemoryStore, name, refuse)
    fake.store.make_bucket("drop-box")
    assert enqueue(fake, output="s3://drop-box/x")


@pytest.mark.parametrize(
    ("output", "is_listed"),
    [("s3://photos/summer/out", True), ("s3://photos/out", False), (None, False)],
)
def test_an_output_under_its_source_is_said(
    fake: Fake, output: str | None, is_listed: bool
) -> None:
    enqueue(fake, output=output)
    assert any("lies under the source" in text for text in fake.warnings) == is_listed
    fake.warnings.clear()
    enqueue(fake, output=output, include=("*.jpg",))
    assert fake.warnings == []


def test_an_url_is_taken_literally_where_it_matches(fake: Fake) -> None:
    fake.put_images("photos", "[odd]*?/a.jpg")
    spec = enqueue(fake, "s3://photos/[odd]*?/")
    assert (spec.bucket, spec.prefix) == parse_s3_url("s3://photos/[odd]*?/")
