"""``try``: a pipeline over a few images on this machine, without a stack.

Models and code lie in a store below the home, which is a folder. A model that is not there is
copied from the stack's bucket where a stack is up and has it, or else pulled.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from producer import Echo
from producer.few_images import run_images
from producer.models.in_bucket import StackModels
from producer.stages_process import StagesProcess
from shared.catalog import (
    BucketModels,
    Catalog,
    Models,
    PublishedModel,
    model_key,
    published,
    references,
    resolve,
)
from shared.catalog.published import MARKER, WEIGHTS
from shared.errors import HeadraceError, TransientError
from shared.few_images import ImageRows, writing_to
from shared.model import MAX_FILE_BYTES
from shared.pipeline import Pipeline
from shared.storage import Store
from shared.storage.folder import FolderStore

ROWS_FILE = "rows.jsonl"
_PICTURE_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class HomeStore:
    """The store below a home, as ``pull_model`` takes it."""

    home: Path
    models_bucket: str = "models"

    @property
    def folder(self) -> Path:
        """Where its buckets are."""
        return self.home / "cache" / "store"


def try_out(
    process: StagesProcess,
    name_or_path: str,
    images: Sequence[str],
    home: Path,
    echo: Echo,
    out: Path | None = None,
) -> tuple[Pipeline, ImageRows]:
    """Run a pipeline over files and ``s3://`` objects, and wait for it.

    ``out``: a folder for the rows and for what each model sees; it is made if it is missing.
    Raises UsageError for a pipeline or an image that cannot be read, and HeadraceError for a model
    that cannot be fetched or run. What a user's class prints goes to stderr.
    """
    place = HomeStore(home)
    store = FolderStore(place.folder)
    store.make_bucket(place.models_bucket)
    if out is not None:
        _make(out)
    models = _Models(place, store)
    _bring_models(name_or_path, place, store, models, echo)
    found = resolve(name_or_path, place.models_bucket, store, models=models)
    if found.packed:
        from producer.jobs.code import silent, upload_class
    for packed in found.packed:
        upload_class(store, place.models_bucket, packed, silent)
    rows = run_images(
        process,
        found.pipeline,
        images,
        home,
        store=place.folder,
        models_bucket=place.models_bucket,
        out=out,
        code=[packed.code.folder for packed in found.packed],
    )
    if out is not None:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows.rows]
        with writing_to(out):
            (out / ROWS_FILE).write_text("".join(f"{line}\n" for line in lines))
    return found.pipeline, rows


class _Models(StackModels):
    """The stack's; a version that was tried before needs no stack."""

    def __init__(self, place: HomeStore, store: Store) -> None:
        super().__init__(place.home)
        self._here = BucketModels(store, place.models_bucket)

    def find(self, name: str, sha256: str | None) -> PublishedModel | None:
        """See ``Models``."""
        here = self._here.find(name, sha256) if sha256 else None
        return here or super().find(name, sha256)


def _bring_models(
    name_or_path: str, place: HomeStore, store: Store, models: Models, echo: Echo
) -> None:
    """Have the versions that the pipeline names in the store. Raises HeadraceError."""
    catalog = Catalog()
    for reference in references(catalog.pipeline(name_or_path), catalog, models).values():
        if reference.python_class is not None:
            continue
        name, sha256 = reference.entry.name, reference.sha256
        if published(store, place.models_bucket, name, sha256) is not None:
            continue
        try:
            if _copy_from_stack(place, store, name, sha256):
                continue
        except HeadraceError as error:
            if reference.published is not None or reference.version is not None:
                raise
            echo(f"The model '{name}' is not copied from the stack's bucket: {error}")
        if reference.published is not None:
            raise TransientError(
                "model_not_copied", f"The model '{name}' cannot be copied from the stack's bucket."
            )
        if reference.version is None:
            from producer.models import pull_model

            pull_model(name, place, store, echo=echo)


def _copy_from_stack(place: HomeStore, store: Store, name: str, sha256: str) -> bool:
    """Copy a version from the stack's bucket; False where there is no stack, or it has none.

    Weights stay there where torch does not know the network: its graph is all that runs. Raises
    UsageError for settings that cannot be read, and the stores' errors.
    """
    from producer.connections import connect_stack_if_set_up

    connections = connect_stack_if_set_up(place.home)
    if connections is None:
        return False
    bucket = connections.settings.models_bucket
    there = connections.store_of(bucket)
    found = published(there, bucket, name, sha256)
    if found is None:
        return False
    files = dict(found.files)
    if found.has_graph and found.constants.architecture is None:
        files.pop(WEIGHTS, None)
    for file, file_sha256 in files.items():
        key = model_key(name, sha256, file)
        _copy(there, bucket, store, place.models_bucket, key, file_sha256)
    marker = model_key(name, sha256, MARKER)  # the last, as always
    store.put(place.models_bucket, marker, there.get(bucket, marker))
    return True


def _copy(
    there: Store, bucket: str, store: Store, to_bucket: str, key: str, file_sha256: str
) -> None:
    """Copy one object by way of a file, since it may have gigabytes."""
    with tempfile.NamedTemporaryFile() as file:
        file.writelines(there.pieces(bucket, key, max_bytes=MAX_FILE_BYTES))
        file.flush()
        store.put_file(to_bucket, key, Path(file.name), sha256=file_sha256)


def _make(out: Path) -> None:
    """The folder, with an empty file for the rows; there is room for a picture."""
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / ROWS_FILE).write_text("")
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(bytes(_PICTURE_BYTES))
