"""``--sort``: rows in the order of one field, of jobs larger than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producer.selecting.fields import Field, find_field
from producer.selecting.gathered import gathered
from producer.selecting.where import Where
from shared.errors import UsageError

_BLOCK_ROWS = 1000
_NO_NUMBERS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Order:
    """A field to sort by; equal rows keep their order, and rows without a value come last.

    ``conditions``: on the labels of what has the field. Only what meets one of them counts, or
    everything where there are none.
    """

    field: Field
    is_descending: bool
    conditions: tuple[Where, ...] = ()

    def indices(self, values: pa.Array) -> pa.Array:
        """The places of the values, in this order."""
        order = "descending" if self.is_descending else "ascending"
        return pc.array_sort_indices(values, order=order, null_placement="at_end")

    def values(self, table: pa.Table) -> pa.Array:
        """One value for each row, of several numbers the largest; null where there is none."""
        if self.field.is_single:
            (only,) = self.field.values(table)
            return only.values
        meeting = [condition.elements(table) for condition in self.conditions]
        best = np.full(table.num_rows, -np.inf)
        for column, values, rows, elements in self.field.values(table):
            counts = values.is_valid().to_numpy(zero_copy_only=False)
            if meeting:
                found = [each[column] for each in meeting if column in each]
                counts = counts & np.isin(elements, np.concatenate([_NO_NUMBERS, *found]))
            numbers = values.filter(pa.array(counts)).to_numpy(zero_copy_only=False)
            np.maximum.at(best, rows[counts], numbers.astype(np.float64))
        return pa.array(best, pa.float64(), mask=np.isneginf(best))


def parse_order(text: str, schema: pa.Schema, conditions: Sequence[Where] = ()) -> Order:
    """``FIELD``, or ``-FIELD`` for the largest first. ``conditions``: all that rows meet.

    Raises UsageError.
    """
    field = find_field(text.removeprefix("-"), schema, "--sort")
    is_number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    if not field.is_single and not is_number:
        raise UsageError(
            "bad_sort",
            f"--sort: a row may have several values of {field.name}.",
            "Sort by a number of them, such as their score, or by a field that a row has once.",
        )
    return Order(field, text.startswith("-"), tuple(c for c in conditions if _picks(c, field)))


def _picks(condition: Where, field: Field) -> bool:
    """Whether it says which labels are meant, of what has the field."""
    columns = {column for column, below in condition.field.paths if below == "label"}
    return not condition.is_negated and any(column in columns for column, _ in field.paths)


def sorted_rows(tables: Iterable[pa.Table], order: Order, limit: int | None) -> Iterator[pa.Table]:
    """The rows in that order, or the first ``limit`` of them.

    Sorted runs of rows lie in a temporary folder; in memory are one run and the values of the
    field: of all rows, or of the first ``limit`` of each run.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        runs, values = [], []
        for number, table in enumerate(gathered(tables)):
            found = order.values(table)
            if pa.types.is_string(found.type):
                found = found.cast(pa.large_string())  # all of them may have more than 2 GiB
            places = order.indices(found).slice(0, limit)
            values.append(found.take(places))
            runs.append(_run(table.take(places), Path(folder) / str(number)))
        if runs:
            whole = order.indices(pa.concat_arrays(values)).slice(0, limit)
            yield from _merged(runs, whole.to_numpy().astype(np.int64))


def _run(table: pa.Table, path: Path) -> pa.Table:
    """The table, as a file that is mapped into memory."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BLOCK_ROWS)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _merged(runs: list[pa.Table], order: npt.NDArray[np.int64]) -> Iterator[pa.Table]:
    """``order``: places in all runs together, in which those of one run ascend."""
    ends = np.cumsum([run.num_rows for run in runs])
    done = np.zeros(len(runs), dtype=np.int64)
    for first in range(0, len(order), _BLOCK_ROWS):
        run_of = np.searchsorted(ends, order[first : first + _BLOCK_ROWS], side="right")
        counts = np.bincount(run_of, minlength=len(runs))
        slices = [
            run.slice(int(start), int(count))
            for run, start, count in zip(runs, done, counts, strict=True)
            if count
        ]
        by_run = np.argsort(run_of, kind="stable")  # in which order the slices have the rows
        yield pa.concat_tables(slices).combine_chunks().take(pa.array(np.argsort(by_run)))
        done += counts
