"""Analyses, one file a kind: what is asked of every image, and the column that answers it."""

from typing import TYPE_CHECKING

from shared.analyses.base import Analysis, NetworkAnalysis
from shared.kinds import kinds_in, one_of

ANALYSES = kinds_in(__name__, Analysis)

if TYPE_CHECKING:
    AnyAnalysis = Analysis
else:
    AnyAnalysis = one_of(ANALYSES)

__all__ = ["ANALYSES", "Analysis", "AnyAnalysis", "NetworkAnalysis"]
