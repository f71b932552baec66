"""Rolling up: chunk files become parts, range after range, while the job runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future

from shared import keys
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.storage import Store
from workers.collector.chunk_file import ChunkFile, ChunkFiles
from workers.collector.part import Part, read_part
from workers.collector.part_writer import encode_part

# Chunk files that are read before their turn, each with up to 5 MiB of answers.
READ_AHEAD = 8


class _Missing(Exception):
    """There are no files of these chunks."""

    def __init__(self, chunks: list[int]) -> None:
        super().__init__(chunks)
        self.chunks = chunks


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
            try:
                self._make(span, self._every_file(span))
            except _Missing as missing:
                # Chunk files go only after all parts stand: another collector may have closed.
                if not self._find(span):
                    return missing.chunks
        return []

    def roll_up_existing(self, chunks: int) -> None:
        """Make all parts of a cancelled job from the chunk files that there are.

        Every range gets its part, even an empty one: a part made later would not be counted.
        """
        there = self._files.numbers(self._spec.job_id)
        while span := self.next_range(chunks):
            if not self._find(span):
                present = [chunk for chunk in span if chunk in there]
                self._make(span, (file for file in self._files_of(present) if file is not None))

    def _find(self, span: range) -> bool:
        part = read_part(self._output, self._spec, len(self.parts), span.start, span.stop)
        if part is not None:
            self.parts.append(part)
        return part is not None

    def _make(self, span: range, files: Iterable[ChunkFile]) -> None:
        key = keys.part_key(self._spec, len(self.parts))
        # Its bytes are let go before they are read back.
        self._output.create(
            self._spec.output_bucket, key, encode_part(self._spec, span.start, span.stop, files)
        )
        if not self._find(span):  # what counts is what stands
            raise PermanentError(
                "part_lost",
                f"s3://{self._spec.output_bucket}/{key} was written and is gone.",
                "Leave a job's folder alone while it runs.",
            )

    def _every_file(self, span: range) -> Iterator[ChunkFile]:
        """The files of all these chunks. Raises _Missing after the last that there is."""
        missing = []
        for chunk, file in zip(span, self._files_of(span), strict=True):
            if file is None:
                missing.append(chunk)
            else:
                yield file
        if missing:
            raise _Missing(missing)

    def _files_of(self, chunks: Iterable[int]) -> Iterator[ChunkFile | None]:
        """The chunks' files in their order, some read ahead; None for one that is not there."""
        ahead: deque[Future[ChunkFile | None]] = deque()
        for chunk in chunks:
            if len(ahead) == READ_AHEAD:
                yield ahead.popleft().result()
            ahead.append(self._readers.submit(self._read, chunk))
        while ahead:
            yield ahead.popleft().result()

    def _read(self, chunk: int) -> ChunkFile | None:
        return self._files.read(self._spec, chunk)
