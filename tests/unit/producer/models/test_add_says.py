"""What ``models add`` says of what it took as usual, and of what the next release has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.models import list_models
from shared.views.letterbox import Letterbox
from tests.support.adding import Bench

LABELS = b"cat\ndog\nhen\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def said(bench: Bench, begin: str) -> list[str]:
    return [line for line in bench.said if line.startswith(begin)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"view": "stretch"}, "the view stretch"),
        ({"mean": (0.4, 0.5, 0.25)}, "mean 0.4,0.5,0.25"),
        ({"std": (0.5, 0.5, 0.5)}, "std 0.5,0.5,0.5"),
        ({"channels": "bgr"}, "channels bgr"),
        ({"licence": "MIT"}, "the licence MIT"),
        ({"labels": LABELS}, "labels"),
        ({"labels": LABELS, "view": "stretch"}, "labels and the view stretch"),
        (
            {"labels": LABELS, "licence": "MIT", "view": "stretch"},
            "labels, the licence MIT and the view stretch",
        ),
    ],
)
def test_what_was_given_for_the_release_before_and_not_for_this_one(
    bench: Bench, given: dict[str, object], expected: str
) -> None:
    if "labels" in given:
        given = given | {"labels": bench.labels(LABELS)}
    bench.add(**given)  # type: ignore[arg-type]
    bench.file.write_bytes(b"better weights")
    bench.add()
    (line,) = said(bench, "'cats' had ")
    assert line.startswith(f"'cats' had {expected}; this release has not. If it should, ")
    bench.said.clear()
    bench.file.write_bytes(b"best weights")
    bench.add(**given)  # type: ignore[arg-type]
    bench.file.write_bytes(b"better weights")
    bench.file.write_bytes(b"the last weights")
    bench.add(**given)  # type: ignore[arg-type]
    assert not said(bench, "'cats' had ")


@pytest.mark.parametrize("bad", ["release", "marker"])
def test_a_release_before_that_cannot_be_read_is_no_reason_to_fail_late(
    bench: Bench, bad: str
) -> None:
    first = bench.add().sha256
    if bad == "marker":
        bench.store.put("models", f"cats/{first}/model.json", b"junk")
        bench.file.write_bytes(b"better weights")
        bench.add()
        return
    bench.store.put("models", "cats/releases/00000002.json", b"junk")
    with pytest.raises(Exception, match=r"not ours\. Run 'headrace models rm cats'"):
        bench.add()


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({}, "It has no names for its 3 classes: rows have numbers. Give --labels."),
        ({"classes": None}, "It has no names for its 3 classes: rows have numbers. Give --labels."),
        (
            {"classes": None, "outputs": {"boxes": 4, "box_scores": 1}, "layout": "yolox"},
            "It has no names for its classes: rows have numbers. Give --labels.",
        ),
        ({"classes": None, "outputs": {"features": 9}}, None),
        ({"labels": ("a", "b", "c")}, None),
    ],
)
def test_a_model_without_labels_says_so(
    bench: Bench, update: dict[str, object], expected: str | None
) -> None:
    bench.exported = bench.exported.model_copy(update=update)
    bench.add()
    assert said(bench, "It has no names") == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat", "cat", "dog"], "Several classes have the same name: 'cat'. "),
        (["b", "a", "a", "b"], "Several classes have the same name: 'b', 'a'. "),
        ([*"abcdefg"] * 2, "Several classes have the same name: 'a', 'b', 'c', 'd', 'e' and 2 mo"),
        (["cat", "Cat", "dog"], None),
    ],
)
def test_labels_that_occur_twice_are_said(
    bench: Bench, labels: list[str], expected: str | None
) -> None:
    bench.exported = bench.exported.model_copy(update={"classes": len(labels)})
    bench.add(labels=bench.labels("\n".join(labels).encode()))
    found = said(bench, "Several classes")
    assert len(found) == (expected is not None)
    assert all(line.startswith(str(expected)) for line in found)


def test_the_view_is_said_unless_it_was_asked_for(bench: Bench) -> None:
    bench.add()
    assert said(bench, "An image") == ["An image becomes 320x200 pixels, by letterbox."]
    bench.said.clear()
    bench.exported = bench.exported.model_copy(update={"view": Letterbox(width=64, height=64)})
    bench.add("dogs", view="crop")
    assert not said(bench, "An image")


@pytest.mark.parametrize(
    "key",
    ["a3/releases/00000001.json", "a3/releases/00000004.json", "a3/{}/model.json", "{}"],
)
def test_one_bad_object_does_not_hide_the_other_models(bench: Bench, key: str) -> None:
    bench.add("b3")
    added = bench.add("a3").sha256
    bench.store.put("models", key.format(added), b"junk")
    warnings: list[str] = []
    found = list_models(bench.store, bench.settings, bench.catalog, warn=warnings.append)
    assert {"pets", "b3"} <= {each.name for each in found}
    if key == "{}":
        assert not warnings
        return
    assert [w.partition("not ours. ")[2].partition(",")[0] for w in warnings] == [
        "Run 'headrace models rm a3'"
    ]
    if "releases" in key:
        assert [e.is_default for e in found if e.name == "a3"] == [False]


def test_a_bad_version_hides_no_other_of_the_same_model(bench: Bench) -> None:
    first = bench.add().sha256
    bench.file.write_bytes(b"better weights")
    second = bench.add().sha256
    bench.store.put("models", f"cats/{first}/model.json", b"junk")
    bench.store.put("models", f"pets/{first}/model.json", b"junk")
    warnings: list[str] = []
    found = list_models(bench.store, bench.settings, bench.catalog, warn=warnings.append)
    assert [(e.name, e.pulled) for e in found] == [("pets", False), ("cats", True)]
    assert found[1].sha256 == second
    assert len(warnings) == 2
