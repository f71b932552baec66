"""Turning a request into a job: everything is checked first, and then one object is written."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from producer import Echo, Warn
from producer.connections import Connections
from producer.jobs.checks import require_output, require_source
from producer.jobs.code import Progress, described, silent, upload_class
from producer.jobs.nearest import parse_source
from producer.jobs.requests import DEFAULT_CHUNK_ITEMS, JobRequest
from producer.pins import cancel_without_pins, require_pins
from producer.version import version
from shared.catalog import Catalog, PackedClass, Resolved, resolve
from shared.errors import PermanentError, TransientError, UsageError
from shared.job import JobSpec, new_job_id
from shared.limits import MAX_CHUNK_ITEMS
from shared.paths import expanded
from shared.pipeline import Pipeline
from shared.settings import Settings
from shared.stages import PRODUCER_ROLE
from shared.storage import parse_s3_url


def submit(
    connections: Connections,
    request: JobRequest,
    warn: Warn,
    *,
    tell: Echo = silent,
    progress: Progress = silent,
) -> JobSpec:
    """Upload what a class needs, write the job's spec, and tell the producer.

    Returns the spec that stands. The same ``job_id`` with the same spec continues. Raises
    HeadraceError for all that would keep the job from ever running, before anything is written.
    ``tell`` is told what is packed.
    """
    spec, packed = make_spec(connections, request)
    tell_packed(packed, tell)
    if request.job_id and (existing := _existing(connections, spec)):
        return _continue(connections, existing, warn)
    require_source(connections, spec, tell)
    require_output(connections, spec, warn)
    upload(connections, packed, progress)
    require_pins(connections, spec)
    existing = connections.jobs.create_spec(spec)
    _require_same(existing, spec)
    cancel_without_pins(connections, existing)
    announce(connections, existing.job_id, warn)
    return existing


def tell_packed(packed: Sequence[PackedClass], tell: Echo) -> None:
    """Say what travels with the job: a line for each class, and one for classes of one module."""
    for line in dict.fromkeys(map(described, packed)):
        tell(line)


def upload(connections: Connections, packed: Sequence[PackedClass], progress: Progress) -> None:
    """Store what the classes need, before the spec that names it."""
    bucket = connections.settings.models_bucket
    for each in packed:
        upload_class(connections.store_of(bucket), bucket, each, progress)


def announce(connections: Connections, job_id: str, warn: Warn) -> None:
    """Hint to the producer that there is something to do; it finds it later even without."""
    try:
        connections.ledger.hint(job_id)
        if not any(worker.role == PRODUCER_ROLE for worker in connections.ledger.workers()):
            warn("queued; no producer is running: headrace up")
    except TransientError as error:
        warn(f"queued; {error.message} It is taken up when the ledger answers.")


def _continue(connections: Connections, existing: JobSpec, warn: Warn) -> JobSpec:
    closing = connections.jobs.closing(existing.job_id)
    if closing is not None:
        warn(f"the job '{existing.job_id}' has ended already: {closing.state}.")
    elif connections.jobs.is_cancelled(existing.job_id):
        raise PermanentError(
            "job_cancelled", f"The job '{existing.job_id}' is cancelled.", "Use another --job-id."
        )
    else:
        announce(connections, existing.job_id, warn)
    return existing


def resolved(connections: Connections, given: str) -> Resolved:
    """The pipeline that ``--pipeline`` names, and what its classes need. Writes nothing."""
    bucket = connections.settings.models_bucket
    return resolve(given, bucket, connections.store_of(bucket))


def make_spec(
    connections: Connections, request: JobRequest
) -> tuple[JobSpec, tuple[PackedClass, ...]]:
    """The spec that a request means, and what is to be uploaded before it.

    Raises UsageError, and the store's errors.
    """
    settings = connections.settings
    bucket, prefix = parse_source(request.source)
    output_bucket, output_prefix = settings.results_bucket, ""
    if request.output:
        output_bucket, output_prefix = parse_s3_url(request.output)
    found = resolved(connections, request.pipeline)
    pipeline = found.pipeline
    try:
        spec = JobSpec(
            job_id=request.job_id or new_job_id(pipeline.name),
            bucket=bucket,
            prefix=prefix,
            include=_patterns(request.include),
            exclude=_patterns(request.exclude),
            limit=request.limit,
            max_errors=request.max_errors,
            chunk_items=_chunk_items(request.chunk_items, pipeline, settings),
            output_bucket=output_bucket,
            output_prefix=output_prefix,
            pipeline=pipeline,
            pipeline_sha256=pipeline.sha256,
            pipeline_given=_absolute_path(request.pipeline),
            headrace_version=version(),
        )
    except ValidationError as error:
        raise _refused(error) from error
    return spec, found.packed


def _patterns(given: tuple[str, ...]) -> tuple[str, ...]:
    """In one order, so that who repeats them in another continues the same job."""
    return tuple(sorted(set(given)))


def _absolute_path(given: str) -> str:
    """A pipeline's name, or its file's path from wherever it is asked for again."""
    is_file = Catalog.is_path(given)
    return str(expanded(given).absolute()) if is_file else given


def _refused(error: ValidationError) -> UsageError:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])
    if field == "job_id":
        return UsageError(
            "bad_job_id",
            f"{first['input']!r} cannot be a job's id.",
            "Take up to 100 letters, digits, '-', '_' and '.', the first a letter or a digit.",
        )
    option = {"prefix": "the source's prefix", "output_prefix": "--output"}.get(field, f"--{field}")
    problems = {"string_too_short": "a pattern is empty", "too_long": "at most 100 patterns"}
    problem = problems.get(first["type"], first["msg"])
    return UsageError("bad_option", f"{option}: {problem}.", "See 'headrace enqueue --help'.")


def max_chunk_items(pipeline: Pipeline, settings: Settings) -> int:
    """How many images a chunk may have: as a slot of the ring and a message hold.

    Raises UsageError where a slot holds none.
    """
    return min(_room_of_slot(pipeline, settings), pipeline.max_items_by_answers)


def _room_of_slot(pipeline: Pipeline, settings: Settings) -> int:
    image_bytes, slot_bytes = pipeline.staged_image_bytes, max(settings.ring.slot_bytes)
    if not image_bytes:
        return MAX_CHUNK_ITEMS
    room = slot_bytes // image_bytes
    if not room:
        views = len(pipeline.staged_views)
        whole = f" in its {views} views" if views > 1 else ""
        lower = (
            "Lower the pipeline's crop_pixels."
            if pipeline.form == "short"
            else ("Make the views of its analyses smaller" + (" or equal." if views > 1 else "."))
        )
        raise UsageError(
            "image_too_large",
            f"One image of '{pipeline.name}'{whole} takes {image_bytes} bytes, and the largest "
            f"slot of the staging ring has {slot_bytes}.",
            lower,
        )
    return room


def _chunk_items(wanted: int | None, pipeline: Pipeline, settings: Settings) -> int:
    most = max_chunk_items(pipeline, settings)
    # More than any chunk may have is refused with the spec's other bounds.
    if wanted is None or wanted <= most or wanted > MAX_CHUNK_ITEMS:
        return wanted or min(DEFAULT_CHUNK_ITEMS, most)
    if wanted > _room_of_slot(pipeline, settings):
        problem = (
            f"{wanted} images of '{pipeline.name}' do not fit the largest slot of the staging "
            f"ring ({max(settings.ring.slot_bytes) >> 20} MiB)."
        )
    else:
        problem = f"The answers for {wanted} images of '{pipeline.name}' do not fit into a message."
    raise UsageError("chunk_too_large", problem, f"Use --chunk-items {most} or less.")


def _existing(connections: Connections, spec: JobSpec) -> JobSpec | None:
    """The job of that id, if there is one. Raises UsageError where it is another job."""
    try:
        existing = connections.jobs.spec(spec.job_id)
    except PermanentError as error:
        if error.code != "no_such_job":
            raise
    else:
        _require_same(existing, spec)
        return existing
    if connections.jobs.closing(spec.job_id):
        raise UsageError(
            "job_half_removed",
            f"The job '{spec.job_id}' was removed, but not all of it.",
            f"Run 'headrace rm {spec.job_id}' again.",
        )
    return None


def _require_same(existing: JobSpec, spec: JobSpec) -> None:
    differences = existing.differences(spec)
    if differences:
        raise UsageError(
            "job_exists",
            f"There is a job '{spec.job_id}' with another spec: {'; '.join(differences)}.",
            "Use another --job-id, or the same arguments as before.",
        )
