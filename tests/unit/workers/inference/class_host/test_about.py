"""What a class with a second parameter gets: key, original size and placement of each image."""

from __future__ import annotations

import numpy as np
import pytest

from shared.placement import Placement
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from tests.support.fake_engine import images_of
from tests.support.hosted_class import OpenClass
from workers.inference.class_host import about as of_host
from workers.inference.model_types import AboutImage

TELLS = """
class Own:
    def __call__(self, images, about):
        return [
            [each.key, each.width, each.height, int(image.flat[0]), *each.placement.resized,
             *each.placement.offset, *each.placement.canvas,
             *each.placement.to_original([[0, 0]])[0].tolist()]
            for image, each in zip(images, about, strict=True)
        ]
"""
CROP = Crop(resize_shorter_pixels=50, crop_pixels=40)


def about(*keys: str, size: tuple[int, int] = (200, 100)) -> list[AboutImage]:
    return [AboutImage(key, *size, CROP.place(size)) for key in keys]


def test_each_image_comes_with_what_is_known_of_it(open_class: OpenClass) -> None:
    engine = open_class(TELLS)
    assert engine.wants_about
    facts = [*about("a/é.jpg", "\N{SNOWMAN}"), *about("c", size=(100, 300))]
    run = engine.launch([images_of(1, 2), images_of(3)], about=facts).wait()
    assert run.outputs == [
        ["a/é.jpg", 200, 100, 1, 100, 50, -30, -5, 40, 40, 60.0, 10.0],
        ["\N{SNOWMAN}", 200, 100, 2, 100, 50, -30, -5, 40, 40, 60.0, 10.0],
        ["c", 100, 300, 3, 50, 150, -5, -55, 40, 40, 10.0, 110.0],
    ]


def test_batches_with_keys_of_any_length_follow_each_other(open_class: OpenClass) -> None:
    engine = open_class(TELLS)
    for length in (1, 1000, 3, 1024):
        keys = [f"{number:03}".ljust(length, "k") for number in range(256)]
        images = images_of(*range(256))
        in_flight = [engine.launch([images], about=about(*keys)) for _ in range(2)]
        for batch in in_flight:
            assert [output[0] for output in batch.wait().outputs] == keys


def test_a_class_may_keep_what_it_is_told_and_its_pixels(open_class: OpenClass) -> None:
    source = """
    class Own:
        kept = []
        def __call__(self, images, about):
            self.kept.append((images, about))
            return [[(each[0].key, int(images[0].flat[0])) for images, each in self.kept]]
    """
    engine = open_class(source)
    runs = [engine.launch([images_of(n)], about=about(str(n))).wait() for n in (1, 2, 3)]
    assert runs[-1].outputs == [[("1", 1), ("2", 2), ("3", 3)]]


def test_only_those_that_ask_are_told(open_class: OpenClass) -> None:
    engine = open_class("class Own:\n    def __call__(self, images): return ['ok']")
    assert not engine.wants_about
    assert engine.launch([images_of(1)], about=about("a")).wait().outputs == ["ok"]


def test_it_is_never_called_without_what_it_asks_for(open_class: OpenClass) -> None:
    engine = open_class(TELLS)
    for told in (None, about("a")):
        with pytest.raises(ValueError, match="wants to know of 2 images"):
            engine.launch([images_of(1, 2)], about=told)
    assert engine.launch([images_of(1)], about=about("a")).wait().outputs[0][0] == "a"


@pytest.mark.parametrize("view", [CROP, Letterbox(width=64, height=48)])
@pytest.mark.parametrize("original", [(200, 100), (97, 331), (3, 2)])
def test_points_lead_back_to_the_original_as_they_do_in_the_worker(
    view: Crop | Letterbox, original: tuple[int, int]
) -> None:
    placed: Placement = view.place(original)
    (told,) = of_host.unpack(of_host.pack([AboutImage("a", *original, placed)]))
    points = np.array([[0.0, 0.0], [3.5, 7.0], [40, 40]])
    boxes = np.concatenate([points, points + 5], axis=1)
    for given in (points, boxes, boxes[0], points[None]):
        found = told.placement.to_original(given)
        assert np.allclose(found, placed.to_original(given, original))
    assert np.allclose(
        told.placement.to_original([[1, 2]]), placed.to_original(np.array([[1.0, 2.0]]), original)
    )


def test_integers_are_not_rounded_and_points_are_not_changed() -> None:
    (told,) = of_host.unpack(of_host.pack(about("a", size=(201, 101))))
    points = np.array([[1, 1]])
    assert not np.array_equal(told.placement.to_original(points), np.rint(points))
    assert points.tolist() == [[1, 1]]
