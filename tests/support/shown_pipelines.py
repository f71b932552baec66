"""What ``pipelines show`` tells, as the form that a test means."""

from __future__ import annotations

from shared.catalog import PipelineView
from shared.catalog.inspect import LongPipelineView, ShortPipelineView


def short(shown: PipelineView) -> ShortPipelineView:
    """A pipeline in the short form."""
    assert isinstance(shown, ShortPipelineView)
    return shown


def long(shown: PipelineView) -> LongPipelineView:
    """A pipeline in the long form."""
    assert isinstance(shown, LongPipelineView)
    return shown
