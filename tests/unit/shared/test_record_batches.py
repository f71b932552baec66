"""A record batch as bytes: refused where damaged."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from shared.record_batches import decode, encode
from tests.support.injection.extent import SEED

BATCH = pa.RecordBatch.from_pydict({"n": [1, None, 3], "t": ["a", "b", None]})
FLIPS = 3000


def test_metadata_is_not_of_the_pipeline() -> None:
    with_metadata = BATCH.replace_schema_metadata({"about": "it"})
    with pytest.raises(ValueError, match="columns"):
        decode(encode(with_metadata), BATCH.schema)


def test_a_first_message_that_is_no_schema_is_refused() -> None:
    """Arrow itself reads it as one, which ends the process."""
    with pytest.raises(ValueError, match="the columns are not those"):
        decode(BATCH.serialize().to_pybytes(), BATCH.schema)


def test_no_damage_of_schema_or_batch_ends_the_process() -> None:
    chance, data = random.Random(SEED), encode(BATCH)
    for _ in range(FLIPS):
        spoiled = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            spoiled[chance.randrange(len(data))] = chance.choice((0, 1, 127, 128, 255))
        try:
            decode(bytes(spoiled), BATCH.schema).to_pylist()
        except ValueError:
            continue
