"""The places at which faults strike are there: a name that is stale would break nothing."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.support.injection.places import ALL_PLACES, Place


def function_at(place: Place) -> Any:
    """The function that is to be wrapped, from where it is defined and not inherited."""
    module, _, path = place.function.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = vars(found)[name]
    return found


@pytest.mark.parametrize("place", ALL_PLACES.values(), ids=ALL_PLACES)
def test_a_place_is_a_function_of_the_product(place: Place) -> None:
    function = function_at(place)
    assert callable(function) or isinstance(function, staticmethod)


@pytest.mark.parametrize("function", ["shared.lease:LeaseKeeper._gone", "shared.gone:f"])
def test_a_stale_name_is_noticed(function: str) -> None:
    with pytest.raises((KeyError, ImportError)):
        function_at(Place("producer", "before", function))
