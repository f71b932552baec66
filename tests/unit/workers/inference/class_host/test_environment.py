"""What a user's class finds in its environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.environment import PASSED
from workers.inference.class_host.environment import class_environment
from workers.inference.errors import ClassUnusable


def test_a_class_sees_the_devices_that_its_worker_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = {name: "x" for name in PASSED if name.startswith(("CUDA_", "NVIDIA_"))}
    assert "CUDA_DEVICE_ORDER" in devices
    monkeypatch.setattr(os, "environ", {**devices, "OMP_NUM_THREADS": "1", "TOKEN": "secret"})
    found = class_environment([], tmp_path)
    assert found == {
        **devices,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(tmp_path),
    }


def test_a_variable_that_is_not_set_says_where_to_set_it(tmp_path: Path) -> None:
    with pytest.raises(ClassUnusable, match=r"NO_SUCH.*'headrace up'.*docker-compose\.yml"):
        class_environment(["NO_SUCH"], tmp_path)
