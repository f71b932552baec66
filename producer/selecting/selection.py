"""What ``results`` is asked to show of a job's rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc

from producer.job_rows import first_rows
from producer.selecting.sampling import sampled
from producer.selecting.scores import check_min_score, with_min_score
from producer.selecting.sorting import Order, parse_order, sorted_rows
from producer.selecting.where import Where, parse_where
from shared.errors import UsageError
from shared.pipeline import Pipeline

Status = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Applied in the order of the fields: what a sample is taken of meets every condition."""

    status: Status | None = None
    min_score: float | None = None
    where: tuple[Where, ...] = ()
    sample: int | None = None
    seed: int = 0
    order: Order | None = None
    limit: int | None = None

    @classmethod
    def parse(
        cls,
        schema: pa.Schema,
        *,
        status: Status | None = None,
        min_score: float | None = None,
        where: Sequence[str] = (),
        sample: int | None = None,
        seed: int | None = None,
        sort: str | None = None,
        limit: int | None = None,
        pipeline: Pipeline | None = None,
    ) -> Self:
        """From what the options say, for rows with these columns. Raises UsageError.

        ``pipeline``: of the rows; None where another version of headrace made them.
        """
        if min_score is not None:
            check_min_score(min_score, schema, pipeline)
        if seed is not None and sample is None:
            raise UsageError("usage", "--seed is for --sample.", "Say --sample N, or no --seed.")
        conditions = tuple(parse_where(text, schema) for text in where)
        order = parse_order(sort, schema, conditions) if sort else None
        return cls(status, min_score, conditions, sample, seed or 0, order, limit)

    def of(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows that are asked for."""
        if self.status is not None:
            tables = (table.filter(pc.equal(table["status"], self.status)) for table in tables)
        if self.min_score is not None:
            tables = with_min_score(tables, self.min_score)
        for condition in self.where:
            tables = map(condition.of, tables)
        if self.sample is not None:
            tables = sampled(tables, self.sample, self.seed)
        if self.order is not None:
            tables = sorted_rows(tables, self.order, self.limit)
        return first_rows(tables, self.limit)
