"""``enqueue``, ``status``, ``wait``, ``jobs``, ``resume``, ``cancel``, ``retry``, ``rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producer.cli.output import (
    INTERRUPTED,
    AsJson,
    JobArgument,
    answer,
    answer_json,
    confirm,
    example,
    printable,
    say,
    table,
    warn,
)
from producer.cli.progress import Counter, show_job, showing_uploads
from shared.errors import HeadraceError, UsageError
from shared.limits import MAX_CHUNK_ITEMS

if TYPE_CHECKING:
    from producer.connections import Connections
    from producer.jobs import JobStatus
    from producer.jobs.status import ModelStatus
    from shared.job import Accounting

app = typer.Typer()

_REASONS = {
    "no_success": "no image succeeded",
    "too_many_errors": "too many images failed",
    "not_closed": "it could not be run to its end",
}
FailOnImages = Annotated[
    bool, typer.Option("--fail-on-image-errors", help="Exit 1 if any image failed.")
]


@app.command(
    epilog=example(
        "enqueue s3://photos/2026 --pipeline classify --wait",
        "enqueue s3://photos --pipeline ./mine.yaml --include '*.jpg' --limit 1000 --json",
    )
)
def enqueue(
    source: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX")],
    pipeline: Annotated[str, typer.Option(metavar="NAME|FILE", help="What to run.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    job_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The same id and spec continues a job.")
    ] = None,
    chunk_items: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_CHUNK_ITEMS,
            help="Images per chunk, 64 by default. The first has fewer, and so have all where a "
            "slot or a message holds fewer.",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=MAX_CHUNK_ITEMS, hidden=True)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most images to list.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="s3://BUCKET/PREFIX", help="Default: s3://results.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only keys that match, as a whole. May be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="No keys that match, as a whole. May be repeated."),
    ] = None,
    max_errors: Annotated[
        str | None,
        typer.Option(
            metavar="N|N%",
            help="Fail, and stop early, when more images fail. N% counts from 100 rows on.",
        ),
    ] = None,
    fail_on_image_errors: FailOnImages = False,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline over every image under a prefix. Prints the job's id, and returns at once.

    A class of your own is looked for beside the pipeline's file, in $HEADRACE_PLUGINS and in
    ./plugins; it travels with the job, with what it imports from there and the pipeline's files.

    A job fails if none of its images succeeds, or if more of them fail than --max-errors allows.

    With --wait it shows progress, and then what 'status' prints; exit 1 unless it succeeded.
    """
    from producer.connections import connect_stack
    from producer.jobs import JobRequest, Submitted, parse_max_errors, submit

    allowed = None if max_errors is None else parse_max_errors(max_errors)
    connections = connect_stack()
    request = JobRequest(
        source,
        pipeline,
        job_id,
        _chunk_items(chunk_items, batch_size),
        limit,
        output,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        max_errors=allowed,
    )
    with showing_uploads() as progress:
        spec = submit(connections, request, warn, tell=_tell, progress=progress)
    submitted = spec.job_id
    if wait:
        _wait(connections, submitted, as_json, fail_on_image_errors)
    elif as_json:
        answer_json(Submitted(job_id=submitted))
    else:
        answer(submitted)


def _chunk_items(wanted: int | None, by_old_name: int | None) -> int | None:
    if by_old_name is None:
        return wanted
    if wanted is not None:
        raise UsageError(
            "option_twice",
            "--batch-size is the old name of --chunk-items.",
            "Pass --chunk-items alone.",
        )
    warn("--batch-size is called --chunk-items now; the old name works until the next release.")
    return by_old_name


@app.command(epilog=example("status", "status classify-20261121-101502-3f9a --json"))
def status(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="The latest if left out.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show progress until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a job is, or how it ended."""
    from producer.connections import connect_stack
    from producer.doctor.stalls import findings
    from producer.jobs import job_status, latest_job_id

    connections = connect_stack()
    job_id = job_id or latest_job_id(connections)
    if watch:
        _show(connections, _follow(connections, job_id, None), as_json)
    else:
        found = job_status(connections, job_id, warn)
        if not found.has_ended and found.images.pending is not None:  # the ledger answers
            uids = [connections.jobs.spec(job_id).job_uid]
            found.warnings = [str(finding) for finding in findings(connections, job_uids=uids)]
        _show(connections, found, as_json)


@app.command(epilog=example("wait classify-20261121-101502-3f9a --timeout 600"))
def wait(
    job_id: JobArgument,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="S", help="Give up after so many seconds.")
    ] = None,
    fail_on_image_errors: FailOnImages = False,
    as_json: AsJson = False,
) -> None:
    """Return when a job has ended; exit 1 unless it succeeded. Prints what 'status' prints."""
    from producer.connections import connect_stack

    _wait(connect_stack(), job_id, as_json, fail_on_image_errors, timeout)


@app.command(epilog=example("jobs", "jobs --limit 10 --json"))
def jobs(
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the jobs, newest first."""
    from producer.connections import connect_stack
    from producer.jobs import all_statuses

    found = all_statuses(connect_stack(), warn, limit)
    if as_json:
        answer_json(found)
    elif found:
        table(
            ("JOB", "PIPELINE", "STATE", "LISTED", "SUCCEEDED", "FAILED", "CREATED"),
            [
                (
                    *(job.job_id, job.pipeline, job.state),
                    *(job.images.listed, job.images.succeeded, job.images.failed),
                    f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
                )
                for job in found
            ],
        )
    else:
        say("There are no jobs yet.")


@app.command(epilog=example("resume classify-20261121-101502-3f9a"))
def resume(job_id: JobArgument) -> None:
    """Have the producer take up a job at once, which it would do by itself in a while."""
    from producer.connections import connect_stack
    from producer.jobs import resume as resume_job

    resume_job(connect_stack(), job_id, warn)
    answer(job_id)


@app.command(epilog=example("cancel classify-20261121-101502-3f9a"))
def cancel(job_id: JobArgument) -> None:
    """End a job early. The rows that it has are kept."""
    from producer.connections import connect_stack
    from producer.jobs import cancel as cancel_job

    cancel_job(connect_stack(), job_id, warn)
    answer(job_id)


@app.command(
    epilog=example(
        "retry classify-20261121-101502-3f9a",
        "retry classify-20261121-101502-3f9a --update",
    )
)
def retry(
    job_id: JobArgument,
    _failed: Annotated[
        bool, typer.Option("--failed", help="The images that failed, as always.")
    ] = True,
    update: Annotated[
        bool, typer.Option("--update", help="With the present pipeline and code.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    fail_on_image_errors: FailOnImages = False,
    as_json: AsJson = False,
) -> None:
    """Run the failed images of a job again, as a new job that is linked to it.

    It has the job's own pipeline and code; with --update those that there are now.
    """
    from producer.connections import connect_stack
    from producer.jobs import Submitted
    from producer.jobs import retry as retry_job

    connections = connect_stack()
    with showing_uploads() as progress:
        spec = retry_job(connections, job_id, warn, update=update, tell=_tell, progress=progress)
    submitted = spec.job_id
    if wait:
        _wait(connections, submitted, as_json, fail_on_image_errors)
    elif as_json:
        answer_json(Submitted(job_id=submitted))
    else:
        answer(submitted)


@app.command(epilog=example("rm classify-20261121-101502-3f9a --yes"))
def rm(
    job_id: JobArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an ended or cancelled job: its rows and all else that is kept of it."""
    from producer.connections import connect_stack
    from producer.jobs import remove, require_removable

    connections = connect_stack()
    require_removable(connections, job_id)
    confirm(f"Remove the job '{job_id}' and its output?", yes)
    remove(connections, job_id)
    answer(f"{job_id} was removed.")


def _tell(text: str) -> None:
    say(printable(text))


def _wait(
    connections: Connections,
    job_id: str,
    as_json: bool,
    fail_on_image_errors: bool,
    timeout_seconds: float | None = None,
) -> None:
    ended = _follow(connections, job_id, timeout_seconds)
    _show(connections, ended, as_json)
    if ended.state != "succeeded":
        reason = f": {ended.error.rstrip('.')}" if ended.error else ""
        raise HeadraceError(f"job_{ended.state}", f"The job '{job_id}' is {ended.state}{reason}.")
    if fail_on_image_errors and ended.images.failed:
        raise HeadraceError(
            "images_failed",
            f"{ended.images.failed} images failed.",
            f"See 'headrace errors {job_id}'.",
        )
    if ended.images.failed:
        say(f"Why images failed: headrace errors {job_id}")


def _follow(connections: Connections, job_id: str, timeout_seconds: float | None) -> JobStatus:
    """Show a job's progress to its end, and what stands still. Ctrl-C leaves the job alone."""
    from producer.doctor.stalls.lookout import Lookout
    from producer.jobs import follow

    lookout = Lookout(connections)
    looks = follow(connections, job_id, warn, timeout_seconds=timeout_seconds)
    try:
        with Counter(job_id, "images") as counter:
            for look in looks:
                show_job(counter, look)
                for text in lookout.look(look):
                    warn(printable(text))
    except KeyboardInterrupt:
        say(f"The job goes on. Follow it: headrace wait {job_id}; end it: headrace cancel {job_id}")
        raise typer.Exit(INTERRUPTED) from None
    look.warnings = list(lookout.said.values())
    return look


def _show(connections: Connections, status: JobStatus, as_json: bool) -> None:
    from producer.jobs import merged_with_retried

    if as_json:
        answer_json(status)
        return
    merged = merged_with_retried(connections, status)
    images = status.images
    counts = {**images.model_dump(), "skipped": status.skipped}
    shown = [f"{counts.pop('listed') or 0:,} listed"]
    shown += [f"{count:,} {name}" for name, count in counts.items() if count]
    rate = f"{status.images_per_second:,.1f} images/s" if status.images_per_second else ""
    busy = f"device {status.device_busy:.0%} busy" if status.device_busy is not None else ""
    took = f"{status.seconds:,.1f} s" if status.seconds else ""
    lines = {
        "job": status.job_id,
        "state": ": ".join(filter(None, (status.state, _REASONS.get(status.reason or "")))),
        "images": ", ".join(shown),
        "": _with_retried(merged) if merged else "",
        "speed": ", ".join(filter(None, (took, rate, busy))),
        "pipeline": status.pipeline,
        **_computed_by(status),
        "output": status.output,
        "error": status.error or "",
    }
    for name, text in lines.items():
        if text:
            answer(f"{name:<9} {printable(text)}")
    if status.models and status.model is None:
        answer("models")
        for used in status.models:
            answer(f"  {printable(_used(used))}")
    for warning in status.warnings:
        answer(f"{'warning':<9} {printable(warning)}")


def _computed_by(status: JobStatus) -> dict[str, str]:
    """What is known of the model of the short form."""
    if status.model is None:
        return {}
    engine = " ".join(filter(None, (status.engine, status.precision, status.device)))
    return {
        "model": f"{status.model} {(status.model_version or '')[:12]}",
        "engine": engine,
        "because": (engine and status.engine_reason) or "",
    }


def _used(used: ModelStatus) -> str:
    """``embedding: mobilenet_v2 0123456789ab, torch float32 cpu: why``."""
    engine = " ".join(filter(None, (used.engine, used.precision, used.device)))
    because = ": ".join(filter(None, (engine, engine and used.reason)))
    return f"{used.analysis}: " + ", ".join(
        filter(None, (f"{used.model} {used.version[:12]}", because))
    )


def _with_retried(merged: Accounting) -> str:
    """Why a retry of which every image failed may have succeeded."""
    counts = f"{merged.succeeded:,} succeeded, {merged.failed:,} failed"
    return f"with the jobs that it retries: {counts}"
