"""``models add`` with a bucket in memory, and without the processes that it starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from producer.models import AddedModel, Given, add_model
from shared.catalog import Catalog, PublishedModel
from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import HeadraceError
from shared.settings import RingSettings, S3Settings, Settings
from shared.views.letterbox import Letterbox
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import pets_catalog

SCORES = {"scores": 3, "features": 512}


class Bench:
    """A catalog with the model ``pets``, an empty bucket, and a child that needs no torch."""

    def __init__(self, folder: Path, store: MemoryStore | None = None) -> None:
        self.folder, self.file = folder, folder / "r18.pth"
        self.catalog, self.store = pets_catalog(folder), store or MemoryStore()
        self.file.write_bytes(b"my weights")
        self.said: list[str] = []
        self.exported = ExportedModel(
            format="torchvision",
            architecture="resnet18",
            view=Letterbox(width=320, height=200),
            mean=(0, 0, 0),
            std=(1, 1, 1),
            outputs=SCORES,
            classes=3,
        )
        self.requests: list[ExportRequest] = []
        self.first_runs: list[dict[str, bytes]] = []
        self.settings = Settings(
            home=folder / "home",
            host_id="here",
            broker_url="",
            ledger_url="",
            s3=S3Settings(endpoint="localhost:1", access_key="a", secret_key="b"),
            ring=RingSettings(directory=folder, slot_bytes=(1,), slot_counts=(1,)),
            signing_keys=("key",),
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def export(self, request: ExportRequest) -> ExportedModel:
        self.requests.append(request)
        request.output.write_bytes(b"graph")
        given = {"mean": request.mean, "std": request.std, "channels": request.channels}
        return self.exported.model_copy(update={k: v for k, v in given.items() if v is not None})

    def first_run(
        self, version: PublishedModel, files: Mapping[str, Path], folder: Path, _: Catalog
    ) -> None:
        assert folder.is_dir()
        assert version.files.keys() == files.keys()
        self.first_runs.append({name: path.read_bytes() for name, path in files.items()})

    def add(self, name: str = "cats", file: Path | None = None, **given: object) -> AddedModel:
        return add_model(
            name,
            file or self.file,
            Given(**given),  # type: ignore[arg-type]
            self.settings,
            self.store,
            echo=self.said.append,
            catalog=self.catalog,
            export=self.export,
            first_run=self.first_run,
        )

    def labels(self, data: bytes) -> Path:
        path = self.folder / "labels.txt"
        path.write_bytes(data)
        return path

    def stored(self, file: str) -> bytes:
        return self.store.buckets["models"][f"cats/{self.sha256}/{file}"]

    def refused(self, **given: object) -> str:
        """What is said; nothing is in the bucket, or left in the home."""
        with pytest.raises(HeadraceError) as caught:
            self.add(**given)  # type: ignore[arg-type]
        assert not self.store.buckets.get("models")
        assert not [path for path in self.settings.home.rglob("*") if path.is_file()]
        assert "\n" not in str(caught.value)
        return str(caught.value)
