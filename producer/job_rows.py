"""Reading a job's rows: part by part, with the newest row of each item where it was retried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from shared import keys
from shared.job import JobSpec, PastJob
from shared.job_store import JobStore
from shared.rows import SCHEMA, from_parquet, in_todays_columns
from shared.storage import Store

StoreOf = Callable[[str], Store]
Identity = tuple[str, int | None]


def iter_rows(
    store_of: StoreOf,
    jobs: JobStore,
    spec: JobSpec | PastJob,
    *,
    status: Literal["ok", "failed"] | None = None,
    limit: int | None = None,
) -> Iterator[pa.Table]:
    """Tables of ``shared.rows.SCHEMA``, in the order of the parts that stand now.

    A retried item shows its newest row, in its first row's place; ``status`` goes by that row. Only
    rows of retries are kept in memory. Raises the stores' errors.
    """
    retries = jobs.all_retries(spec.job_id)
    newest = _Newest(chain.from_iterable(_parts(store_of, retry) for retry in retries))
    left = limit
    for part in _parts(store_of, spec):
        table = newest.over(part)
        if status is not None:
            table = table.filter(pc.equal(table["status"], status))
        if left is not None:
            table = table.slice(0, left)
            left -= table.num_rows
        if table.num_rows:
            yield table
        if left == 0:
            return


def _parts(store_of: StoreOf, spec: JobSpec | PastJob) -> Iterator[pa.Table]:
    """Only what is named as a part: users can write there, too."""
    store, prefix = store_of(spec.output_bucket), keys.rows_prefix(spec)
    found = [info.key for info in store.list(spec.output_bucket, prefix)]
    parts = [key for key in found if keys.PART_NAME.fullmatch(key.removeprefix(prefix))]
    for key in sorted(parts):  # a store may list in an order of its own
        table, _ = from_parquet(store.get(spec.output_bucket, key))
        yield in_todays_columns(table)


class _Newest:
    """The newest row of each item that was retried."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        """``tables``: the rows of all retries, the oldest first."""
        self._rows = pa.concat_tables([SCHEMA.empty_table(), *tables])
        self._places = {identity: place for place, identity in enumerate(_identities(self._rows))}

    def over(self, table: pa.Table) -> pa.Table:
        """The table with its retried rows replaced."""
        if not self._places:
            return table
        order = [
            place if newer is None else table.num_rows + newer
            for place, newer in enumerate(map(self._places.get, _identities(table)))
        ]
        return pa.concat_tables([table, self._rows]).take(pa.array(order, pa.int64()))


def _identities(table: pa.Table) -> Iterator[Identity]:
    return zip(table["key"].to_pylist(), table["frame"].to_pylist(), strict=True)
