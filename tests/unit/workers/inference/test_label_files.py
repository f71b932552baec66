"""The file of a model's labels, as anybody may have put it into the bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.catalog.published import LABELS, model_key
from shared.limits import MAX_LABEL_CHARACTERS
from tests.support.memory_store import MemoryStore
from tests.support.samples import MODEL
from workers.inference.artefacts import Artefacts
from workers.inference.errors import ModelUnusable


def artefacts_with(labels: bytes, folder: Path) -> Artefacts:
    store = MemoryStore("models")
    store.create("models", model_key(MODEL.name, MODEL.sha256, LABELS), labels)
    return Artefacts(store, "models", folder)


def test_labels_are_the_lines(tmp_path: Path) -> None:
    longest = "ö" * MAX_LABEL_CHARACTERS
    found = artefacts_with(f"cat\n\n{longest}\n".encode(), tmp_path).labels(MODEL)
    assert found == ("cat", "", longest)


def test_a_label_that_no_row_can_hold_refuses_the_model(tmp_path: Path) -> None:
    artefacts = artefacts_with(b"cat\n" + b"x" * (MAX_LABEL_CHARACTERS + 1), tmp_path)
    for _ in range(2):  # it is not kept
        with pytest.raises(ModelUnusable, match="has 10,001 characters"):
            artefacts.labels(MODEL)
