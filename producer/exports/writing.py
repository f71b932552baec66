"""Writing a job's rows in one of the formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pyarrow as pa

from producer.exports.coco import write_coco
from producer.exports.csv_rows import write_csv
from producer.exports.formats import AnyFormat
from producer.exports.jsonl_rows import write_jsonl
from producer.exports.labelstudio import write_labelstudio
from producer.exports.parquet_rows import write_parquet
from shared.errors import PermanentError

Writer = Callable[[Iterable[pa.Table], pa.Schema, IO[bytes]], int]

WRITERS: dict[AnyFormat, Writer] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "coco": write_coco,
    "labelstudio": write_labelstudio,
}


def write_rows(
    tables: Iterable[pa.Table], schema: pa.Schema, form: AnyFormat, file: IO[bytes]
) -> int:
    """Write the rows, whose columns are ``schema``. Returns how many there were.

    ``coco`` and ``labelstudio`` take rows as ``labelled`` has them, whatever ``schema`` says.
    """
    return WRITERS[form](tables, schema, file)


def write_file(tables: Iterable[pa.Table], schema: pa.Schema, form: AnyFormat, path: Path) -> int:
    """Write the rows to a file, which is there only when it is whole. Returns their number.

    Raises PermanentError where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with writing_to(path):
            with temporary.open("wb") as file:
                count = write_rows(tables, schema, form, file)
            temporary.replace(path)
    finally:
        with suppress(OSError, ValueError):  # such as a name that is too long
            temporary.unlink(missing_ok=True)
    return count


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Raises PermanentError ``file_not_written`` where the body cannot write the file."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise PermanentError(
            "file_not_written",
            f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.",
            "Choose another path.",
        ) from error
