"""``models rm`` and ``prune``: what they take, what they leave, and why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from producer.models import prune, removable, unused
from producer.pins import CODE, FILES, Pin, pins_of
from shared.catalog import Catalog
from shared.errors import PermanentError, UsageError
from shared.keys import code_key, file_key
from shared.model import PackedFile
from tests.support import samples
from tests.support.fake_connections import Fake
from tests.support.interleaving import Killed
from tests.support.memory_store import MemoryStore
from tests.support.models_bucket import (
    WEEK,
    A,
    B,
    C,
    keys,
    keys_of,
    network,
    put_job,
    put_release,
    put_version,
    rm,
    written,
)


def test_a_version_goes_whole_and_others_stay(fake: Fake) -> None:
    put_version(fake, "pets", A)
    kept = {*keys_of(put_version(fake, "pets", B)), *keys_of(put_version(fake, "pets-2", A))}
    older, newer = put_release(fake, "pets", 1, A), put_release(fake, "pets", 2, B)
    assert older in keys(fake)
    rm(fake, f"pets@{A}")
    assert keys(fake) == {*kept, newer}


def test_all_of_a_model_goes_with_its_releases(fake: Fake) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_release(fake, "pets", 1, B)
    put_release(fake, "pets", 2, C)  # of a version that is gone
    other = put_version(fake, "pets.v2", A)
    assert [pin.sha256 for pin in rm(fake, "pets")] == [A, B, C]
    assert keys(fake) == keys_of(other)


def test_the_current_release_goes_with_the_whole_model_only_and_last(fake: Fake) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_release(fake, "pets", 1, A)
    with pytest.raises(PermanentError, match=r"aaaaaaaaaaaa… is the current release of the model"):
        rm(fake, f"pets@{A}")
    assert keys_of(Pin("pets", A)) < keys(fake)
    assert [pin.sha256 for pin in removable(fake.connections, "pets")] == [B, A]


@pytest.mark.parametrize("reference", ["pets", f"pets@{A}"])
def test_what_an_open_job_needs_is_refused_and_the_job_is_named(fake: Fake, reference: str) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_job(fake, "mine", network(A))
    before = keys(fake)
    with pytest.raises(PermanentError, match="The job 'mine' needs the version aaaaaaaaaaaa…"):
        rm(fake, reference)
    assert keys(fake) == before
    rm(fake, f"pets@{B}")


@pytest.mark.parametrize(
    "reference", ["", "Pets", "pets@", "pets@12G", f"pets@{A}x", "../x", "_code"]
)
def test_what_names_no_model_is_refused(fake: Fake, reference: str) -> None:
    with pytest.raises(UsageError, match="does not name a model"):
        rm(fake, reference)


@pytest.mark.parametrize("reference", ["cats", "cats@a", f"pets@{C}", "pets@c"])
def test_what_is_not_there_is_refused(fake: Fake, reference: str) -> None:
    put_version(fake, "pets", A)
    with pytest.raises(UsageError, match="There is no"):
        rm(fake, reference)


def test_a_killed_removal_is_finished_by_the_next_of_either_kind(
    fake: Fake, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for finish in ("rm", "prune"):
        for requests in range(1, 30):
            fake.store.buckets["models"].clear()
            put_version(fake, "pets", A, age_days=30)
            put_version(fake, "pets", B, age_days=30)
            put_release(fake, "pets", 1, A)
            left = iter(range(requests))

            def dying(self: MemoryStore, name: str, key: str, action, left=left):
                if name != "get" and next(left, None) is None:
                    raise Killed
                return action()

            with monkeypatch.context() as patch:
                patch.setattr(MemoryStore, "request", dying)
                try:
                    rm(fake, "pets")
                except Killed:
                    pass
            if finish == "rm":
                if keys(fake):
                    rm(fake, "pets")
                assert keys(fake) == set()
            else:
                prune(fake.connections, unused(fake.connections, WEEK, catalog), WEEK)
                left_keys = keys(fake)
                whole = Pin("pets", A).key in left_keys
                assert keys_of(Pin("pets", A)) <= left_keys if whole else not left_keys


def test_prune_takes_what_nothing_has_used_for_long(fake: Fake, catalog: Catalog) -> None:
    gone = put_version(fake, "pets", A)
    put_version(fake, "pets", B, age_days=6)
    put_version(fake, "cats", A)
    put_release(fake, "cats", 1, A)
    put_version(fake, "dogs", A)
    put_job(fake, "open", network(A, "dogs"))
    put_version(fake, "birds", A)
    put_job(fake, "lately", network(A, "birds"), ended_days_ago=6)
    put_version(fake, "fish", A)
    (catalog._models / "fish.yaml").write_text(
        f"architecture: resnet18\nsha256: {A}\nmean: [0, 0, 0]\nstd: [1, 1, 1]\nlicence: MIT\n"
    )
    put_job(fake, "long-ago", network(A), ended_days_ago=8)
    (found,) = unused(fake.connections, WEEK, catalog)
    assert (found.kind, found.name, found.sha256) == ("version", "pets", A)
    size = sum(len(fake.store.buckets["models"][key]) for key in keys_of(gone))
    assert found.bytes == size
    before = keys(fake)
    assert prune(fake.connections, [found], WEEK) == [found]
    assert before - keys(fake) == keys_of(gone)
    assert not unused(fake.connections, WEEK, catalog)


def test_prune_takes_code_and_files_that_no_job_needs(fake: Fake, catalog: Catalog) -> None:
    for sha256 in (A, B, C):
        fake.store.put("models", code_key(sha256), b"zip")
        fake.store.put("models", file_key(sha256), b"data")
    for sha256, days in ((A, 8), (B, 8), (C, 6)):
        for key in (code_key(sha256), file_key(sha256)):
            written(fake, key, timedelta(days=days))
    fake.store.put("models", "_code/notes.txt", b"not ours")
    used = samples.class_model(
        "own:Own", code_sha256=A, files=(PackedFile(name="w", sha256=B, bytes=4),)
    )
    assert pins_of(put_job(fake, "job", used).pipeline) == {Pin(CODE, A), Pin(FILES, B)}
    found = unused(fake.connections, WEEK, catalog)
    assert [(each.kind, each.sha256, each.bytes) for each in found] == [
        ("code", B, 3),
        ("file", A, 4),
    ]
    assert prune(fake.connections, found, WEEK) == found
    young = {code_key(C), file_key(C)}  # an enqueue that goes on may need them
    assert keys(fake) == {code_key(A), file_key(B), "_code/notes.txt", *young}


def test_prune_keeps_what_came_into_use_after_it_looked(fake: Fake, catalog: Catalog) -> None:
    for name in ("pets", "cats", "dogs"):
        put_version(fake, name, A)
    found = unused(fake.connections, WEEK, catalog)
    put_job(fake, "job", network(A, "cats"))
    put_release(fake, "dogs", 1, A)
    assert [each.name for each in prune(fake.connections, found, WEEK)] == ["pets"]
    assert not [key for key in keys(fake) if key.startswith("_removing")]


def test_prune_leaves_what_it_cannot_read_and_what_is_on_its_way(
    fake: Fake, catalog: Catalog
) -> None:
    fake.store.put("models", f"pets/{A}/model.json", b"not ours")
    fake.store.put("models", f"pets/{B}/weights", b"a pull that goes on")
    assert unused(fake.connections, WEEK, catalog) == []
    fake.store.buckets.pop("models")
    assert unused(fake.connections, WEEK, catalog) == []


@pytest.mark.parametrize("reference", ["pets@a", f"pets@{A[:12]}", f"pets@{A}"])
def test_the_first_digits_of_a_version_will_do(fake: Fake, reference: str) -> None:
    put_version(fake, "pets", A)
    put_version(fake, "pets", "ab" * 32)
    kept = put_version(fake, "pets", B)
    if reference == "pets@a":
        with pytest.raises(UsageError, match="Several versions begin as pets@a"):
            rm(fake, reference)
        return
    assert rm(fake, reference) == [Pin("pets", A)]
    assert keys_of(kept) < keys(fake)


def test_the_jobs_are_read_before_the_question_and_once_after_the_marks(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_version(fake, "pets", A)
    read: list[bool] = []
    job_ids = type(fake.connections.jobs).job_ids

    def noted(jobs):
        read.append(any(key.startswith("_removing") for key in keys(fake)))
        return job_ids(jobs)

    monkeypatch.setattr(type(fake.connections.jobs), "job_ids", noted)
    rm(fake, "pets")
    assert read == [False, True]
