"""What a job needs of the models bucket, and whether it still stands there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from producer.connections import Connections
from shared.catalog.objects import listed
from shared.catalog.published import MARKER, model_key
from shared.errors import PermanentError
from shared.job import JobSpec
from shared.keys import REMOVALS, code_key, file_key, removal_prefix
from shared.pipeline import Pipeline
from shared.storage import Store

CODE, FILES = "_code", "_files"


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A version of a network, or the packed code or a file of a class.

    ``folder`` is its first folder in the models bucket: the model's name, ``_code`` or ``_files``.
    """

    folder: str
    sha256: str

    def __str__(self) -> str:
        kinds = {CODE: "the packed code", FILES: "the packed file"}
        if self.folder in kinds:
            return f"{kinds[self.folder]} {self.sha256[:12]}…"
        return f"the version {self.sha256[:12]}… of the model '{self.folder}'"

    @property
    def is_version(self) -> bool:
        """Is it a network's version, and nothing of a class?"""
        return self.folder not in (CODE, FILES)

    @property
    def key(self) -> str:
        """The object without which nobody takes it for complete."""
        if self.folder == CODE:
            return code_key(self.sha256)
        if self.folder == FILES:
            return file_key(self.sha256)
        return model_key(self.folder, self.sha256, MARKER)

    @property
    def prefix(self) -> str:
        """Of a version: where all of it lies."""
        return model_key(self.folder, self.sha256, "")

    @property
    def marks(self) -> str:
        """Where those who remove it leave their marks."""
        return removal_prefix(self.folder, self.sha256)


def pins_of(pipeline: Pipeline) -> set[Pin]:
    """All that the pipeline's models need."""
    pins = set[Pin]()
    for model in pipeline.models.values():
        if model.code_sha256 is None:
            pins.add(Pin(model.name, model.sha256))
        else:
            pins.add(Pin(CODE, model.code_sha256))
            pins.update(Pin(FILES, file.sha256) for file in model.files)
    return pins


def marked(store: Store, bucket: str) -> set[Pin]:
    """What is being removed, or was when its removal was killed."""
    return set(marks_by_key(store, bucket).values())


def marks_by_key(store: Store, bucket: str) -> dict[str, Pin]:
    """Every mark of a removal, with what it removes."""
    keys = (info.key for info in listed(store, bucket, REMOVALS))
    parts = {key: key.removeprefix(REMOVALS).split("/") for key in keys}
    return {key: Pin(*each[:2]) for key, each in parts.items() if len(each) == 3}


def require_pins(connections: Connections, spec: JobSpec) -> None:
    """Raise PermanentError ``model_removed`` unless all that the job needs stands."""
    if problem := next(_problems(connections, spec), None):
        raise _removed(*problem, "Nothing was enqueued.")


def cancel_without_pins(connections: Connections, spec: JobSpec) -> None:
    """Cancel a job, whose spec stands, where something that it needs does not stand any more.

    Raises PermanentError ``model_removed`` then.
    """
    if problem := next(_problems(connections, spec), None):
        connections.jobs.cancel(spec.job_id)
        raise _removed(*problem, f"The job '{spec.job_id}' was cancelled.")


def jobs_needing(connections: Connections, ended_after: datetime | None = None) -> dict[Pin, str]:
    """What the open jobs pin, each with the id of one of them.

    ``ended_after``: and what jobs pin that ended later than that.
    """
    jobs, needed = connections.jobs, dict[Pin, str]()
    for job_id in jobs.job_ids():
        try:
            spec = jobs.any_spec(job_id)
        except PermanentError:  # it was removed
            continue
        if not isinstance(spec, JobSpec):
            continue
        closing = jobs.closing(job_id)
        if closing is None or (ended_after is not None and closing.closed_at > ended_after):
            needed |= dict.fromkeys(pins_of(spec.pipeline), job_id)
    return needed


def _problems(connections: Connections, spec: JobSpec) -> Iterator[tuple[str, str]]:
    """What does not stand, and what to do.

    Marks are looked at first, and objects second: see ``producer.models.removal``.
    """
    bucket, pins = connections.settings.models_bucket, sorted(pins_of(spec.pipeline))
    if not pins:
        return
    store = connections.store_of(bucket)
    being_removed = marked(store, bucket)
    for pin in pins:
        if pin in being_removed:
            yield f"{pin} is being removed", _remedy(pin, is_marked=True)
    for pin in pins:
        if not store.exists(bucket, pin.key):
            yield f"{pin} is not in the bucket '{bucket}' any more", _remedy(pin, is_marked=False)


def _remedy(pin: Pin, *, is_marked: bool) -> str:
    again = "again, under another --job-id if you gave one."
    if not pin.is_version:
        return f"Run the command {again}"
    if is_marked:
        return (
            f"Name another version, or wait for the end of the removal. If it was interrupted, "
            f"'headrace models rm {pin.folder}' removes all of the model, and 'headrace prune' "
            f"calls it off after an hour. Then enqueue {again}"
        )
    return f"Pull or add the model again, or name another version; then enqueue {again}"


def _removed(problem: str, remedy: str, outcome: str) -> PermanentError:
    return PermanentError("model_removed", f"{problem[0].upper()}{problem[1:]}. {outcome}", remedy)
