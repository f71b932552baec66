"""One Arrow record batch as bytes, and back from bytes that anybody may have made."""

from __future__ import annotations

import struct

import pyarrow as pa

# In Arrow's Message and RecordBatch, by their place in the flatbuffers' schemas.
_HEADER, _COMPRESSION = 2, 3


def encode(batch: pa.RecordBatch) -> bytes:
    """The batch, with its schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """What ``encode`` was given. Raises ValueError for all that is not a batch of that schema.

    The schema is compared byte for byte and never parsed: Arrow may crash on a damaged one.
    """
    if not data.startswith(schema.serialize().to_pybytes()):
        raise ValueError("the columns are not those of the pipeline")
    try:
        stream = pa.BufferReader(data)
        messages = pa.ipc.MessageReader.open_stream(stream)
        messages.read_next_message()
        message = messages.read_next_message()
        if message.type != "record batch" or _is_compressed(message.metadata):
            raise ValueError("not one plain record batch")
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        if batch.nbytes > len(data):
            raise ValueError("columns that share their bytes")
        _require_end(messages)
        if stream.tell() != len(data):
            raise ValueError("more than one record batch")
    except (pa.ArrowException, OSError, EOFError, StopIteration, struct.error) as error:
        raise ValueError(f"not a record batch: {str(error)[:200]}") from error
    return batch


def _require_end(messages: pa.ipc.MessageReader) -> None:
    try:
        messages.read_next_message()
    except StopIteration:
        return
    raise ValueError("more than one record batch")


def _is_compressed(metadata: pa.Buffer) -> bool:
    """Whether buffers are compressed, so that a few bytes could claim any size."""
    data = metadata.to_pybytes()
    header = _field(data, _offset(data, 0), _HEADER)
    return header is None or _field(data, _offset(data, header), _COMPRESSION) is not None


def _offset(data: bytes, place: int) -> int:
    """Where the table lies that ``place`` refers to."""
    return int(place + struct.unpack_from("<I", data, place)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffers table lies; None where it has none."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    (fields_bytes,) = struct.unpack_from("<H", data, fields)
    entry = 4 + 2 * number
    if entry >= fields_bytes:
        return None
    (place,) = struct.unpack_from("<H", data, fields + entry)
    return table + place if place else None
