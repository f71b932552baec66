"""The type of every ``--json`` answer, by the command that gives it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from producer.dead_letters import DeadLetterCount, DeadLetterDetail, DeadLetterRow
from producer.doctor.checks import Checks
from producer.doctor.process_rows import ProcessRow
from producer.exports.error_summary import ErrorSummary
from producer.jobs import JobStatus, Submitted
from producer.models import AddedModel, ModelDetails, ModelStatus, Pruned, PulledModel
from producer.search.nearest import SimilarImage
from producer.stack.info import StackInfo
from producer.upload.transfer import UploadReport
from shared.catalog import PipelineSummary, PipelineView
from shared.few_images import ImageRows


class ErrorBody(BaseModel):
    """What is wrong, a stable code for it, and what to do."""

    code: str
    message: str
    hint: str


class ErrorAnswer(BaseModel):
    """Every error under ``--json``, on stderr."""

    error: ErrorBody


ANSWERS: dict[str, Any] = {
    "dead-letters-list": list[DeadLetterRow],
    "dead-letters-purge": DeadLetterCount,
    "dead-letters-replay": DeadLetterCount,
    "dead-letters-show": DeadLetterDetail,
    "doctor": Checks,
    "enqueue": Submitted,
    "errors": list[ErrorSummary],
    "info": StackInfo,
    "jobs": list[JobStatus],
    "models-add": AddedModel,
    "models-list": list[ModelStatus],
    "models-pull": PulledModel,
    "models-push": PulledModel,
    "models-show": ModelDetails,
    "pipelines-list": list[PipelineSummary],
    "pipelines-show": PipelineView,
    "prune": Pruned,
    "ps": list[ProcessRow],
    "retry": Submitted,
    "similar": list[SimilarImage],
    "status": JobStatus,
    "try": ImageRows,
    "upload": UploadReport,
    "wait": JobStatus,
}
