"""Reading a job's rows, with the newest row of each item where it was retried.

One row group is decoded at a time, and a collector writes one for each chunk: however large a part
is, its packed bytes and the rows of one chunk are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from shared import keys, parquet
from shared.job import JobSpec, PastJob
from shared.job_store import JobStore
from shared.rows import PAST_SCHEMA, in_columns, rows_schema
from shared.storage import Store

StoreOf = Callable[[str], Store]
Identity = tuple[str, int | None]


def schema_of(spec: JobSpec | PastJob) -> pa.Schema:
    """The columns of a job's rows."""
    return rows_schema(spec.pipeline) if isinstance(spec, JobSpec) else PAST_SCHEMA


def iter_rows(
    store_of: StoreOf,
    jobs: JobStore,
    spec: JobSpec | PastJob,
    *,
    status: Literal["ok", "failed"] | None = None,
) -> Iterator[pa.Table]:
    """Small tables of the columns of ``schema_of(spec)``, in the order of the parts that stand now.

    A retried item shows its newest row, in its first row's place; ``status`` goes by that row. The
    rows of retries are all kept in memory. Raises the stores' errors.
    """
    retries, schema = jobs.all_retries(spec.job_id), schema_of(spec)
    newest = _Newest(schema, chain.from_iterable(_row_groups(store_of, retry) for retry in retries))
    tables = (newest.over(in_columns(group, schema)) for group in _row_groups(store_of, spec))
    if status is not None:
        tables = (table.filter(pc.equal(table["status"], status)) for table in tables)
    return (table for table in tables if table.num_rows)


def first_rows(tables: Iterable[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    """The first ``limit`` rows, or all for None, without empty tables. Asks for no more of them."""
    left = limit
    for table in tables if left != 0 else ():
        if left is not None:
            table = table.slice(0, left)
            left -= table.num_rows
        if table.num_rows:
            yield table
        if left == 0:
            return


def _row_groups(store_of: StoreOf, spec: JobSpec | PastJob) -> Iterator[pa.Table]:
    """Only of what is named as a part: users can write there, too."""
    store, prefix = store_of(spec.output_bucket), keys.rows_prefix(spec)
    found = [info.key for info in store.list(spec.output_bucket, prefix)]
    parts = [key for key in found if keys.PART_NAME.fullmatch(key.removeprefix(prefix))]
    for key in sorted(parts):  # a store may list in an order of its own
        yield from parquet.decode_groups(store.get(spec.output_bucket, key))


class _Newest:
    """The newest row of each item that was retried."""

    def __init__(self, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """``tables``: the rows of all retries, the oldest first."""
        rows = [in_columns(table, schema) for table in tables]
        self._rows = pa.concat_tables([schema.empty_table(), *rows])
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
