"""``--sample``: a uniform sample of rows, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def sampled(tables: Iterable[pa.Table], count: int, seed: int) -> Iterator[pa.Table]:
    """``count`` of the rows, or all if they are fewer, in their order; each is as likely.

    Each row draws a number, and those with the lowest stay: the sample follows from the seed and
    the rows. At most twice ``count`` rows are held, and one table more.
    """
    draw, highest = np.random.default_rng(seed), 1.0
    held: list[pa.Table] = []
    drawn: list[npt.NDArray[np.float64]] = []
    for table in tables:
        numbers = draw.random(table.num_rows)
        is_low = numbers < highest
        held.append(table.filter(pa.array(is_low)))
        drawn.append(numbers[is_low])
        if sum(map(len, drawn)) >= 2 * count:
            kept, lowest = _lowest(held, drawn, count)
            held, drawn, highest = [kept], [lowest], float(lowest.max())
    if held:
        yield _lowest(held, drawn, count)[0]


def _lowest(
    tables: list[pa.Table], numbers: list[npt.NDArray[np.float64]], count: int
) -> tuple[pa.Table, npt.NDArray[np.float64]]:
    joined = np.concatenate(numbers)
    places = np.sort(np.argsort(joined, kind="stable")[:count])
    return pa.concat_tables(tables).take(pa.array(places)), joined[places]
