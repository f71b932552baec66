"""What a removal leaves that was killed, or that fails: what may be used again, and how."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from producer.models import call_off_interrupted, prune, unused
from producer.models.removal import Removal, require_unmarked
from producer.pins import CODE, Pin, marked, require_pins
from shared.catalog import BucketModels, Catalog, current_release
from shared.errors import HeadraceError, PermanentError
from shared.keys import code_key
from tests.support import samples
from tests.support.fake_connections import Fake
from tests.support.models_bucket import (
    WEEK,
    A,
    B,
    keys,
    keys_of,
    network,
    put_job,
    put_release,
    put_version,
    rm,
    written,
)

LONG_AGO = timedelta(hours=1, minutes=1)


def put_mark(fake: Fake, pin: Pin, ago: timedelta = LONG_AGO, token: str = "killed") -> str:
    key = f"{pin.marks}{token}"
    fake.store.put("models", key, b"")
    written(fake, key, ago)
    return key


def pruned(fake: Fake, catalog: Catalog, older_than: timedelta = WEEK) -> set[Pin]:
    """As the command does. Returns what may be used again."""
    found = unused(fake.connections, older_than, catalog)
    called_off = call_off_interrupted(fake.connections, found)
    prune(fake.connections, found, older_than)
    return called_off


@pytest.mark.parametrize("kept_by", ["release", "job", "config", "age", "class"])
def test_prune_calls_off_an_interrupted_removal_of_what_stays(
    fake: Fake, catalog: Catalog, kept_by: str
) -> None:
    model = network(A)
    pin = put_version(fake, "pets", A, age_days=6 if kept_by == "age" else 30)
    if kept_by == "release":
        put_release(fake, "pets", 1, A)
    if kept_by == "config":
        (catalog._models / "pets.yaml").write_text(
            f"architecture: resnet18\nsha256: {A}\nmean: [0, 0, 0]\nstd: [1, 1, 1]\nlicence: MIT\n"
        )
    if kept_by == "class":
        fake.store.put("models", code_key(A), b"zip")
        model, pin = samples.class_model("own:Own", code_sha256=A), Pin(CODE, A)
    put_mark(fake, pin)
    put_mark(fake, pin, token="another")
    spec = put_job(fake, "job", model, ended_days_ago=None if kept_by in ("job", "class") else 30)
    with pytest.raises(PermanentError, match="is being removed"):
        require_pins(fake.connections, spec)
    assert pruned(fake, catalog) == {pin}
    require_pins(fake.connections, spec)


def test_prune_leaves_the_marks_of_a_removal_that_goes_on_and_finishes_the_others(
    fake: Fake, catalog: Catalog
) -> None:
    going_on, half, old = (put_version(fake, name, A) for name in ("cats", "pets", "dogs"))
    for pin in (going_on, half):
        put_release(fake, pin.folder, 1, A)
    put_mark(fake, going_on, timedelta(minutes=59))
    put_mark(fake, going_on, token="older")
    put_mark(fake, half)
    fake.store.delete("models", half.key)
    put_mark(fake, old)
    assert not pruned(fake, catalog)
    assert marked(fake.store, "models") == {going_on}
    assert not {key for key in keys(fake) if key.startswith(("pets", "dogs"))}


def test_the_advice_of_a_marked_version_works(fake: Fake) -> None:
    pin = put_version(fake, "pets", A)
    put_release(fake, "pets", 1, A)
    put_mark(fake, pin)
    with pytest.raises(PermanentError) as caught:
        require_unmarked(fake.store, "models", pin)
    assert "'headrace models rm pets'" in caught.value.hint
    rm(fake, "pets")
    assert not keys(fake)


def test_of_a_class_the_advice_is_to_enqueue_again(fake: Fake) -> None:
    spec = put_job(fake, "job", samples.class_model("own:Own", code_sha256=A))
    with pytest.raises(PermanentError, match="The packed code") as caught:
        require_pins(fake.connections, spec)
    assert caught.value.hint == "Run the command again, under another --job-id if you gave one."


def test_a_removal_that_cannot_find_out_what_to_keep_leaves_no_marks(fake: Fake) -> None:
    pin = put_version(fake, "pets", A)

    def keeping() -> dict[Pin, PermanentError]:
        raise HeadraceError("store_unavailable", "The store does not answer.")

    with pytest.raises(HeadraceError, match="does not answer"):
        Removal(fake.connections).remove([pin], keeping)
    assert keys(fake) == keys_of(pin)


@pytest.mark.parametrize("file", ["backup-1.json", "1.json", "old/00000009.json", "00000009.json~"])
def test_what_is_no_release_decides_nothing(fake: Fake, catalog: Catalog, file: str) -> None:
    """Every command says the same of what is current."""
    put_version(fake, "pets", A)
    put_version(fake, "pets", B)
    put_release(fake, "pets", 2, B)
    key = put_release(fake, "pets", 1, A).replace("00000001.json", file)
    fake.store.put("models", key, f'{{"sha256": "{A}"}}'.encode())
    release = current_release(fake.store, "models", "pets")
    assert release is not None
    assert release.sha256 == B
    with pytest.raises(PermanentError, match="is the current release"):
        rm(fake, f"pets@{B}")
    assert [each.sha256 for each in unused(fake.connections, WEEK, catalog)] == [A]
    rm(fake, f"pets@{A}")
    rm(fake, "pets")
    assert keys(fake) == {key}
    assert BucketModels(fake.store, "models").names() == []


@pytest.mark.parametrize("junk", [b"", b"junk", b"{}", b'{"number": 3, "sha256": "x"}'])
def test_a_release_that_cannot_be_read_is_said_and_goes_with_the_whole_model(
    fake: Fake, catalog: Catalog, junk: bytes
) -> None:
    put_version(fake, "pets", A)
    put_release(fake, "pets", 1, A)
    fake.store.put("models", "pets/releases/00000003.json", junk)
    for act in (
        lambda: current_release(fake.store, "models", "pets"),
        lambda: rm(fake, f"pets@{A}"),
    ):
        with pytest.raises(PermanentError, match=r"not ours\. Run 'headrace models rm pets'"):
            act()
    assert unused(fake.connections, WEEK, catalog) == []
    rm(fake, "pets")
    assert not keys(fake)
    fake.store.put("models", "pets/releases/00000003.json", junk)  # and nothing else
    rm(fake, "pets")
    assert not keys(fake)


def test_a_mark_of_now_is_not_old(fake: Fake, catalog: Catalog) -> None:
    pin = put_version(fake, "pets", A)
    put_release(fake, "pets", 1, A)
    put_mark(fake, pin, datetime.now(UTC) - datetime.now(UTC))
    assert not pruned(fake, catalog)
    assert marked(fake.store, "models") == {pin}
