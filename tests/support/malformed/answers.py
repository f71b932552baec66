"""What is wrong with the answers of a batch or a result, though they are rightly signed."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from shared.answers import answer_schema
from shared.errors import ItemErrorCode
from shared.item import ItemFailure
from shared.messages import Batch, Message, Result
from shared.record_batches import encode
from tests.support import samples
from tests.support.malformed.schema import fields
from tests.support.malformed.spoiling import MISSING, Case
from tests.support.malformed.target import Target, signed

SEED = 16
FAILED = ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")

# From answers of two items, of which the second failed, bytes that are not answers.
Spoil = Callable[[pa.RecordBatch], bytes]


def with_column(batch: pa.RecordBatch, name: str, column: Any) -> pa.RecordBatch:
    """``batch`` with other values in one of its columns."""
    number = batch.schema.get_field_index(name)
    if not isinstance(column, pa.Array):
        column = pa.array(column, batch.schema.field(number).type)
    return batch.set_column(number, batch.schema.field(number), column)


def of_values(name: str, *values: Any) -> Spoil:
    """With ``values`` in a column."""
    return lambda batch: encode(with_column(batch, name, list(values)))


def of_rows(count: int) -> Spoil:
    """With so many items."""
    return lambda batch: encode(batch.take(pa.array([0] * count, pa.int32())))


def cut(share: float) -> Spoil:
    """Only the first part of the bytes."""

    def spoil(batch: pa.RecordBatch) -> bytes:
        data = encode(batch)
        return data[: int(len(data) * share)]

    return spoil


def flipped(seed: int) -> Spoil:
    """With some bits of the schema's bytes flipped, wherever the seed says."""

    def spoil(batch: pa.RecordBatch) -> bytes:
        chance, data = random.Random(seed), bytearray(encode(batch))
        for _ in range(3):
            data[chance.randrange(8, len(batch.schema.serialize()))] ^= 1 << chance.randrange(8)
        return bytes(data)

    return spoil


def compressed(codec: str, claimed_bytes: int | None = None) -> Spoil:
    """``claimed_bytes``: what each buffer says that it unpacks to."""

    def spoil(batch: pa.RecordBatch) -> bytes:
        batch = batch.take(pa.array([0, 1] * 200, pa.int32()))
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch)
        data = bytearray(sink.getvalue().to_pybytes())
        if claimed_bytes is not None:
            right = struct.pack("<q", 400 * 4)  # of a column of int32
            assert right in data
            data = data.replace(right, struct.pack("<q", claimed_bytes))
        return bytes(data)

    return spoil


def of_message(offsets: tuple[int, int, int], data: bytes = b"") -> Spoil:
    """With an error message whose Arrow buffers are these; its writer makes only sound ones."""
    data = data.rjust(_MESSAGE_BYTES, b"x")

    def spoil(batch: pa.RecordBatch) -> bytes:
        text = "?" * _MESSAGE_BYTES
        sound = encode(with_column(batch, "error_message", [None, text]))
        place = sound.rindex(struct.pack("<3i", 0, 0, _MESSAGE_BYTES))  # behind the metadata
        changed = sound[:place] + struct.pack("<3i", *offsets) + sound[place + 12 :]
        return changed.replace(text.encode(), data)

    return spoil


# A length that no other text has.
_MESSAGE_BYTES = 29


def of_another_schema(change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Spoil:
    """With other columns."""
    return lambda batch: encode(change(batch))


def _cast(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.RecordBatch:
    number = batch.schema.get_field_index(name)
    return batch.set_column(number, pa.field(name, kind), batch[name].cast(kind))


def _reversed(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(batch.schema.names[::-1])


def _twice(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _lying_count(batch: pa.RecordBatch) -> bytes:
    """The second item's failure is said to be none."""
    data = encode(batch)
    right, wrong = struct.pack("<qq", 2, 1), struct.pack("<qq", 2, 0)
    assert right in data
    return data.replace(right, wrong)


def _shared_bytes(batch: pa.RecordBatch) -> bytes:
    """Two columns of numbers that lie in the same place, as Arrow's own writer never writes."""
    whole = batch.take(pa.array([0] * 400, pa.int32()))
    data = bytearray(encode(with_column(whole, "width", list(range(1, 401)))))
    # Of each buffer its place and length; those of width and height are the second and the fourth.
    places = [n for n in range(0, len(data) - 16, 8) if data[n + 8 : n + 16] == _INT32_BYTES]
    width, height = places[:2]
    data[height : height + 8] = data[width : width + 8]
    return bytes(data)


_INT32_BYTES = struct.pack("<q", 400 * 4)

SPOILS: dict[str, Spoil] = {
    "nothing": lambda _: b"",
    "noise": lambda _: random.Random(SEED).randbytes(1000),
    "a zero": lambda batch: encode(batch) + b"\0",
    **{f"the first {share:.0%}": cut(share) for share in (0.001, 0.1, 0.4, 0.7, 0.9, 0.99)},
    **{f"bits of the schema flipped, {seed}": flipped(seed) for seed in range(8)},
    "zstd": compressed("zstd"),
    "lz4": compressed("lz4"),
    "a bomb": compressed("zstd", claimed_bytes=2**40),
    "two batches": _twice,
    "a dictionary": of_another_schema(
        lambda b: _cast(b, "warning", pa.dictionary(pa.int8(), pa.string()))
    ),
    "a column missing": of_another_schema(lambda b: b.select(b.schema.names[:-1])),
    "a column more": of_another_schema(lambda b: b.append_column("more", b["width"])),
    "a column renamed": of_another_schema(
        lambda b: b.rename_columns([*b.schema.names[:-1], "other"])
    ),
    "another type": of_another_schema(lambda b: _cast(b, "width", pa.int64())),
    "another order": of_another_schema(_reversed),
    "metadata": of_another_schema(lambda b: b.replace_schema_metadata({"x": "y" * 10_000})),
    "no rows": of_rows(0),
    "513 rows": of_rows(513),
    **{f"width {value}": of_values("width", value, None) for value in (0, -1, 10**9, None)},
    **{f"height {value}": of_values("height", 9, value) for value in (0, -(2**31), 10**6 + 1)},
    "an unknown code": of_values("error_code", None, "no-such"),
    "an empty code": of_values("error_code", None, ""),
    "an unknown warning": of_values("warning", "x" * 10**5, None),
    "a failure without a message": of_values("error_message", None, None),
    "a message without a failure": of_values("error_message", "x", "x"),
    "a long message": of_values("error_message", None, "x" * 501),
    "offsets that decrease": of_message((0, 29, 3)),
    "offsets below zero": of_message((-(2**31), 0, 29)),
    "offsets out of bounds": of_message((0, 0, 2**31 - 1)),
    "no UTF-8": of_message((0, 0, 29), b"\xff\xfe"),
    "half a character": of_message((0, 0, 29), "é".encode()[:1]),
    "a count of nulls that lies": _lying_count,
    "columns in one place": _shared_bytes,
}


def _classes(target: Target) -> Message:
    """With answers for two items, of which the second failed."""
    message = target.message
    assert isinstance(message, Batch | Result)
    pipeline, stage = message.pipeline, message.stage_before(message.pipeline)
    known = answer_schema(pipeline, stage).names
    answer = {"classes": samples.prediction("cat")} if "classes" in known else {}
    return message.model_copy(update={"answers": samples.answers(pipeline, stage, answer, FAILED)})


def spoiled_answers(spoil: Spoil, message: Callable[[Target], Message] = _classes) -> Case:
    """A message with answers of two items, which ``spoil`` spoils."""

    def make(target: Target) -> bytes:
        good = message(target)
        assert isinstance(good, Batch | Result)
        fields = json.loads(good.model_dump_json())
        fields["answers"] = base64.b64encode(spoil(good.answers)).decode()
        return json.dumps(signed(target, json.dumps(fields))).encode()

    return Case("schema", make)


ANSWERS: dict[str, Case] = {
    **fields(("answers",), MISSING, None, 5, [], {}, "", "*", "abc", "YQ==\n", "\u00e9"),
    **{f"schema: answers: {name}": spoiled_answers(spoil) for name, spoil in SPOILS.items()},
}


def _predictions(**changes: Any) -> dict[str, Any]:
    return {"class_index": 0, "predictions": [{"label": "a", "score": 1.0}], **changes}


def _first(answer: Any) -> Spoil:
    return of_values("classes", answer, None)


# Of the result's one analysis, the classes of the short form.
CLASSES: dict[str, Case] = {
    f"schema: classes: {name}": spoiled_answers(spoil)
    for name, spoil in {
        "none of a good item": of_values("classes", None, None),
        "one of a failed item": of_values("classes", _predictions(), _predictions()),
        "no predictions": _first(_predictions(predictions=None)),
        "an empty prediction": _first(_predictions(predictions=[None])),
        "more than top_k": _first(_predictions(predictions=[{"label": "a", "score": 1.0}] * 6)),
        "no label": _first(_predictions(predictions=[{"label": None, "score": 1.0}])),
        "a long label": _first(_predictions(predictions=[{"label": "x" * 10_001, "score": 1.0}])),
        "no score": _first(_predictions(predictions=[{"label": "a", "score": None}])),
        "a score of NaN": _first(_predictions(predictions=[{"label": "a", "score": float("nan")}])),
        "a score without end": _first(
            _predictions(predictions=[{"label": "a", "score": float("inf")}])
        ),
        "an index below zero": _first(_predictions(class_index=-1)),
    }.items()
}
