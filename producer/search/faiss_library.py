"""faiss, imported only where it is used."""

from __future__ import annotations

from typing import Any

from shared.errors import PermanentError


def load_faiss() -> Any:
    """The module. Raises PermanentError ``no_faiss`` where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise PermanentError(
            "no_faiss",
            f"The package faiss cannot be loaded: {error}.",
            "Run 'make install' in the project's folder.",
        ) from error
    # What is asked of it takes one core less time than reading the rows; on a busy machine threads
    # that wait for one another made k-means ten times slower.
    faiss.omp_set_num_threads(1)
    return faiss
