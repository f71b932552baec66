"""Putting a version into the models bucket: its files first, the marker last."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from producer import Echo
from producer.models.export import Export
from producer.models.removal import require_unmarked
from producer.pins import Pin
from shared.catalog import (
    Entry,
    ModelConstants,
    PublishedModel,
    WeightsModelFile,
    constants,
    current,
    labels,
    model_key,
    publish,
)
from shared.catalog.exports import ExportedModel, ExportRequest
from shared.catalog.published import LABELS, ONNX, WEIGHTS
from shared.errors import HeadraceError, PermanentError
from shared.storage import Store, ensure_bucket


@dataclass(frozen=True, slots=True)
class ModelPublisher:
    """Publishes to one bucket. ``export`` writes the ONNX file of some weights."""

    store: Store
    bucket: str
    echo: Echo
    export: Export

    def existing(self, name: str, sha256: str) -> PublishedModel | None:
        """The version if it is complete, which it then says."""
        found = current(self.store, self.bucket, name, sha256)
        if found is not None:
            self.echo(f"The model '{name}' {sha256[:12]} is in the bucket already")
        return found

    def publish(
        self, entry: Entry[WeightsModelFile], weights: Path, source: str, folder: Path
    ) -> PublishedModel:
        """Make the version of these weights complete; ``folder`` is for files on the way.

        The export comes first: weights that do not fit leave nothing in the bucket. Raises
        HeadraceError ``export_failed``, UsageError for the labels, and the store's errors.
        """
        baked, name, sha256 = constants(entry), entry.name, file_sha256(weights)
        files = {WEIGHTS: weights}
        self.echo(f"Exporting '{name}' to ONNX")
        said = baked.model_dump(exclude={"labels_sha256", "config_sha256"})
        output = folder / ONNX
        named = labels(entry)
        request = ExportRequest(
            weights=weights.absolute(),
            sha256=sha256,
            output=output.absolute(),
            labels=None if named is None else named.rstrip(b"\n").count(b"\n") + 1,
            **said,
        )
        exported = self.export(request)
        for sentence in exported.assumed:
            self.echo(sentence)
        if exported.has_graph:
            files[ONNX] = output
        if named is not None:
            files[LABELS] = folder / LABELS
            files[LABELS].write_bytes(
                named.partition(b"\n")[2] if exported.names_background else named
            )
        hashes = hashes_of(files, sha256)
        licence = entry.content.licence
        version = version_of(name, baked, exported, hashes, licence=licence, source=source)
        return self.upload(version, files)

    def upload(self, version: PublishedModel, files: dict[str, Path]) -> PublishedModel:
        """Store what was made on this machine. Returns the version that stands.

        Raises the store's errors, and UsageError for a file that has changed since.
        """
        name, sha256 = version.name, version.sha256
        self.echo(f"Storing '{name}' in the bucket '{self.bucket}'")
        ensure_bucket(self.store, self.bucket)
        pin = Pin(name, sha256)
        require_unmarked(self.store, self.bucket, pin)
        for file, path in files.items():
            key = model_key(name, sha256, file)
            self.store.put_file(self.bucket, key, path, sha256=version.files[file])
        version = publish(self.store, self.bucket, version)
        self._require_whole(pin, version)
        self.echo(f"The model '{name}' {sha256[:12]} is ready")
        return version

    def _require_whole(self, pin: Pin, version: PublishedModel) -> None:
        """A removal may have begun, or have taken files that were stored before the last."""
        marked = any(self.store.list(self.bucket, pin.marks))
        found = {info.key for info in self.store.list(self.bucket, pin.prefix)}
        is_whole = {pin.prefix + file for file in version.files} <= found
        if not is_whole:
            self.store.delete(self.bucket, pin.key)
        if marked or not is_whole:
            raise HeadraceError(
                "model_removed",
                f"Another command removes {pin} while it is stored.",
                "Run this again when that has ended.",
            )


def hashes_of(files: Mapping[str, Path], weights_sha256: str) -> dict[str, str]:
    """The sha256 of each file, of which that of the weights is known already."""
    return {
        file: weights_sha256 if file == WEIGHTS else file_sha256(path)
        for file, path in files.items()
    }


def version_of(
    name: str,
    constants: ModelConstants,
    exported: ExportedModel,
    hashes: dict[str, str],
    *,
    licence: str,
    source: str,
) -> PublishedModel:
    """The version that these files make. ``hashes``: theirs, by their names in the bucket."""
    return PublishedModel(
        name=name,
        sha256=hashes[WEIGHTS],
        constants=constants,
        outputs=exported.outputs,
        layout=exported.layout,
        inputs=exported.inputs,
        created_at=datetime.now(UTC),
        files=hashes,
        licence=licence,
        source=source,
    )


@contextmanager
def workplace(home: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, on the disk of the downloads that are kept."""
    try:
        downloads(home).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads(home)) as folder:
            yield Path(folder)
    except OSError as error:
        raise PermanentError(
            "cache_not_written",
            f"Cannot keep files in {downloads(home)}: {error.strerror or error}.",
            "Free some space there, or set HEADRACE_HOME to another folder.",
        ) from error


def downloads(home: Path) -> Path:
    """Where weights that passed their check are kept."""
    return home / "cache" / "downloads"


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
