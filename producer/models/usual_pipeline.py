"""The pipeline that a model alone is used by, as a file."""

from __future__ import annotations

from collections.abc import Collection

import yaml

from shared.analyses import ANALYSES, NetworkAnalysis
from shared.errors import PermanentError

# The names of columns that read better than their kinds.
_COLUMNS = {"boxes": "objects"}


def usual_pipeline(name: str, outputs: Collection[str]) -> str:
    """YAML: the short form for scores, else one analysis that reads what the model gives.

    Raises PermanentError where no analysis does.
    """
    word = name if yaml.safe_load(name) == name else f"'{name}'"  # '123' would be a number
    if "scores" in outputs:
        return f"name: {word}\nmodel: {word}\n"
    for kind, analysis in ANALYSES.items():
        if issubclass(analysis, NetworkAnalysis) and analysis.main_output() in outputs:
            column = _COLUMNS.get(kind, kind)
            asked = f"{{kind: {kind}, model: {word}}}"
            return f"name: {word}\nanalyses:\n  {column}: {asked}\n"
    raise PermanentError(
        "no_such_output",
        f"The model gives {', '.join(outputs) or 'nothing'}, which no analysis reads.",
        "A model gives scores of classes, features or boxes.",
    )
