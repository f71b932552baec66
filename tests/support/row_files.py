"""Files of rows, as a collector writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import rows


def to_parquet(table: Any, metadata: Mapping[str, str]) -> bytes:
    """A file of one row group; ``metadata`` is our part of its footer."""
    return rows.to_parquet([table], table.schema, lambda: metadata)
