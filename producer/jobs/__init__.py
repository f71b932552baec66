"""Jobs as their users see them: making, following, ending and removing them."""

from producer.jobs.following import all_specs, all_statuses, follow, latest_job_id
from producer.jobs.lifecycle import cancel, purge, remove, require_removable, resume, retry
from producer.jobs.requests import PROBE_PIPELINE, JobRequest, Submitted, parse_max_errors
from producer.jobs.status import ImageCounts, JobStatus, job_status, merged_with_retried
from producer.jobs.submission import submit

__all__ = [
    "PROBE_PIPELINE",
    "ImageCounts",
    "JobRequest",
    "JobStatus",
    "Submitted",
    "all_specs",
    "all_statuses",
    "cancel",
    "follow",
    "job_status",
    "latest_job_id",
    "merged_with_retried",
    "parse_max_errors",
    "purge",
    "remove",
    "require_removable",
    "resume",
    "retry",
    "submit",
]
