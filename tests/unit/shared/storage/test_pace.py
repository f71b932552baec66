"""A body is read while it comes at a fair pace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from shared.storage.pace import WINDOW_BYTES, WINDOW_SECONDS, paced


class Line:
    """Parts, each of which takes some seconds to come."""

    def __init__(self) -> None:
        self.now = 0.0

    def parts(self, parts: Iterable[bytes], seconds: float) -> Iterator[bytes]:
        for part in parts:
            self.now += seconds
            yield part

    def read(self, parts: Iterable[bytes], seconds: float) -> bytes:
        return paced(self.parts(parts, seconds), clock=lambda: self.now)


def test_a_body_is_joined_however_long_it_takes_in_all() -> None:
    parts = [bytes([number]) * WINDOW_BYTES for number in range(100)]
    assert Line().read(parts, WINDOW_SECONDS) == b"".join(parts)
    assert Line().read([], 1.0) == b""


@pytest.mark.parametrize("quick", [0, 3])
def test_a_body_that_nearly_stands_still_is_given_up(quick: int) -> None:
    line = Line()
    parts = [b"x" * WINDOW_BYTES] * quick + [b"x"] * 100
    with pytest.raises(TimeoutError):
        line.read(parts, 1.0)
    assert line.now <= quick + 2 * WINDOW_SECONDS + 2
