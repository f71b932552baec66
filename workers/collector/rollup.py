"""Rolling up: chunk files become parts, range after range, while the job runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from shared import keys
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.storage import Store
from workers.collector.chunk_file import ChunkFile, ChunkFiles
from workers.collector.part import Part, encode_part, read_part


class RollUp:
    """One job's parts, in order. ``parts``: those that stand, as they were read back.

    Everything is create-only under fixed names, so any number of collectors may do this at once.
    Methods raise the store's errors, and PermanentError for files that none of us wrote.
    """

    def __init__(
        self,
        spec: JobSpec,
        files: ChunkFiles,
        output: Store,
        readers: Executor,
    ) -> None:
        self._spec = spec
        self._files = files
        self._output = output
        self._readers = readers
        self.parts: list[Part] = []

    def next_range(self, chunks: int | None) -> range:
        """The chunks of the part to come; empty after the last of ``chunks`` (null: no seal)."""
        first, end = keys.part_range(self._spec, len(self.parts))
        return range(first, end if chunks is None else min(end, chunks))

    def advance(self, is_done: Callable[[range], bool], chunks: int | None) -> list[int]:
        """Make the parts whose chunks are all done. Returns done chunks that have no file."""
        while (span := self.next_range(chunks)) and is_done(span):
            if self._find(span):
                continue
            files = dict(zip(span, self._readers.map(self._read, span), strict=True))
            missing = [chunk for chunk, file in files.items() if file is None]
            if missing:
                # Chunk files go only after all parts stand: another collector may have closed.
                if self._find(span):
                    continue
                return missing
            self._make(span, list(files.values()))
        return []

    def roll_up_existing(self, chunks: int) -> None:
        """Make all parts of a cancelled job from the chunk files that there are.

        Every range gets its part, even an empty one: a part made later would not be counted.
        """
        there = self._files.numbers(self._spec.job_id)
        while span := self.next_range(chunks):
            if not self._find(span):
                present = [chunk for chunk in span if chunk in there]
                self._make(span, list(self._readers.map(self._read, present)))

    def _find(self, span: range) -> bool:
        part = read_part(self._output, self._spec, len(self.parts), span.start, span.stop)
        if part is not None:
            self.parts.append(part)
        return part is not None

    def _make(self, span: range, files: list[ChunkFile | None]) -> None:
        data = encode_part(self._spec, span.start, span.stop, [f for f in files if f is not None])
        key = keys.part_key(self._spec, len(self.parts))
        self._output.create(self._spec.output_bucket, key, data)
        if not self._find(span):  # what counts is what stands
            raise PermanentError(
                "part_lost",
                f"s3://{self._spec.output_bucket}/{key} was written and is gone.",
                "Leave a job's folder alone while it runs.",
            )

    def _read(self, chunk: int) -> ChunkFile | None:
        return self._files.read(self._spec, chunk)
