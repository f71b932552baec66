"""Rows as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO

import pyarrow as pa
import pyarrow.csv

from shared.rows import SCHEMA


def write_csv(tables: Iterable[pa.Table], file: IO[bytes]) -> int:
    """With a header; predictions become JSON text. Returns the number of rows."""
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
