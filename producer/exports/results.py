"""Reading a job's rows: part by part, with the newest row of each item where it was retried."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from producer.exports.formats import Format
from shared import keys
from shared.errors import ITEM_ERROR_ADVICE, ItemErrorCode, PermanentError
from shared.job import JobSpec, PastJob
from shared.job_store import JobStore
from shared.rows import SCHEMA, from_parquet, in_todays_columns
from shared.storage import Store

StoreOf = Callable[[str], Store]
Writer = Callable[[Iterable[pa.Table], IO[bytes]], int]
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


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """One error code of a job, with an example and what to do about it."""

    code: str
    count: int
    example_key: str
    example_message: str
    advice: str


def error_summary(tables: Iterable[pa.Table]) -> list[ErrorSummary]:
    """Counts by error code, the most frequent first."""
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for table in tables:
        failed = table.filter(pc.equal(table["status"], "failed"))
        codes, names, messages = (
            failed[name].to_pylist() for name in ("error_code", "key", "error_message")
        )
        counts.update(codes)
        for code, key, message in zip(codes, names, messages, strict=True):
            examples.setdefault(code, (key, message or ""))
    return [
        ErrorSummary(code, count, *examples[code], _advice(code))
        for code, count in counts.most_common()
    ]


def _advice(code: str) -> str:
    known = code in ItemErrorCode.__members__.values()  # rows may come from a newer version
    return ITEM_ERROR_ADVICE[ItemErrorCode(code)] if known else ""


def write_rows(tables: Iterable[pa.Table], form: Format, file: IO[bytes]) -> int:
    """Write the rows; predictions become JSON text in CSV. Returns how many there were."""
    writers: dict[Format, Writer] = {
        "csv": _write_csv,
        "jsonl": _write_jsonl,
        "parquet": _write_parquet,
    }
    return writers[form](tables, file)


def write_file(tables: Iterable[pa.Table], form: Format, path: Path) -> int:
    """Write the rows to a file, which is there only when it is whole. Returns their number.

    Raises PermanentError where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            count = write_rows(tables, form, file)
        temporary.replace(path)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise PermanentError(
            "file_not_written",
            f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.",
            "Choose another path.",
        ) from error
    finally:
        with suppress(OSError, ValueError):  # such as a name that is too long
            temporary.unlink(missing_ok=True)
    return count


def _write_csv(tables: Iterable[pa.Table], file: IO[bytes]) -> int:
    schema = SCHEMA.set(SCHEMA.get_field_index("predictions"), pa.field("predictions", pa.string()))
    count = 0
    with pyarrow.csv.CSVWriter(file, schema) as writer:
        for table in tables:
            texts = [json.dumps(value) for value in table["predictions"].to_pylist()]
            index = table.schema.get_field_index("predictions")
            flat = table.set_column(index, "predictions", pa.array(texts, pa.string()))
            writer.write_table(flat.cast(schema))
            count += table.num_rows
    return count


def _write_jsonl(tables: Iterable[pa.Table], file: IO[bytes]) -> int:
    count = 0
    for table in tables:
        for row in table.to_pylist():
            line = json.dumps(row, ensure_ascii=False)
            if not line.isprintable():  # some readers end lines at other characters, too
                line = json.dumps(row)
            file.write(line.encode() + b"\n")
        count += table.num_rows
    return count


def _write_parquet(tables: Iterable[pa.Table], file: IO[bytes]) -> int:
    count = 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            count += table.num_rows
    return count
