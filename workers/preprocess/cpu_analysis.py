"""One analysis on the CPU, asked of one image after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from shared.analyses import Analysis
from shared.errors import ItemError, ItemErrorCode
from shared.pixels import Pixels
from workers.preprocess.analyses import analyser_of

log = logging.getLogger(__name__)

# The analyses whose failure this process has logged: each may fail for every image.
_logged: set[str] = set()


class CpuAnalysis:
    """The analysis ``name`` of a pipeline."""

    def __init__(self, name: str, analysis: Analysis) -> None:
        self._label = label_of(name, analysis)
        self._analysis = analysis
        self._type = analysis.answer_type()
        self._analyse = analyser_of(analysis.kind)

    def ask(self, pixels: Pixels) -> Any:
        """The answer for one image, in plain Python objects as JSON has them. Raises ItemError.

        ``pixels``: uint8 (height, width, 3), in the analysis's view.
        """
        shown = pixels.view()
        shown.flags.writeable = False  # a model may get the same pixels
        with naming(self._label):
            try:
                return self.checked(self._analyse(self._analysis, shown))
            except ItemError:
                raise
            except Exception as error:  # else its chunk would come back for ever
                self._log()
                text = f"{type(error).__name__}: {error}"
                raise ItemError(ItemErrorCode.MODEL_ERROR, text) from error

    def _log(self) -> None:
        """Log the exception and where it comes from, once; the row of each image has its text."""
        if self._label not in _logged:
            _logged.add(self._label)
            log.exception("%s failed; further failures are only in the rows", self._label)

    def checked(self, answer: Any) -> Any:
        """The answer as the analysis's column holds it. Raises ValueError for one that it refuses.

        So an answer is the same whether it comes from this process or, as JSON, from a child.
        """
        try:
            column = pa.array([answer], self._type)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ValueError(f"not an answer of this kind: {error}") from error
        if problem := "no answer" if column.null_count else self._analysis.check(column):
            raise ValueError(problem)
        return column[0].as_py()


def label_of(name: str, analysis: Analysis) -> str:
    """What messages about one image call an analysis."""
    return f"{analysis.kind} '{name}'"


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Begin the message of an ItemError with the analysis that it comes from."""
    try:
        yield
    except ItemError as error:
        raise ItemError(error.item_code, f"{label}: {error.message}") from error
