"""The images that the compose file asks for, pulled, or stood in for where they cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.stack import ROOT

HERE = Path(__file__).parent
PULL_SECONDS = 300
TORCH_INDEX = "https://download.pytorch.org/whl/cpu/"
# In the order of the arguments of stand_ins.sh.
VARIABLES = ("PYTHON_IMAGE", "HEADRACE_REDIS_IMAGE", "HEADRACE_STORE_IMAGE")


def image_names() -> list[str]:
    """What the compose file pulls where nothing else is said: Python, Redis, the store."""
    text = (ROOT / "docker-compose.yml").read_text()
    found = dict(re.findall(r"\$\{(\w+):-([^}\s]+:[^}\s]+)\}", text))
    return [os.environ.get(name) or found[name] for name in VARIABLES]


def why_no_engine() -> str:
    """Why nothing can be run in containers here; empty where it can."""
    if shutil.which("docker") is None:
        return "there is no docker here"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return f"'{' '.join(command)}' fails here"
    return ""


def provide_images() -> list[str]:
    """Provide every image. Returns those that are stand-ins, made here."""
    names = image_names()
    missing = [name for name in names if not (_is_here(name) or _is_pulled(name))]
    if missing:
        wanted = [name if name in missing else "-" for name in names]
        minio = "-"
        if names[-1] in missing:
            built = [sys.executable, "-m", "tools.minio_server"]
            minio = subprocess.check_output(built, text=True, cwd=ROOT).strip()
        subprocess.run(["bash", HERE / "stand_ins.sh", *wanted, minio], check=True)
    return missing


def torch_index() -> str:
    """Where torch without CUDA comes from, or nothing where that does not answer: then PyPI."""
    try:
        with urllib.request.urlopen(TORCH_INDEX, timeout=10):
            return TORCH_INDEX.rstrip("/")
    except OSError:
        return ""


def _is_here(name: str) -> bool:
    return not subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode


def _is_pulled(name: str) -> bool:
    command = ["docker", "pull", "--quiet", name]
    done = subprocess.run(command, capture_output=True, timeout=PULL_SECONDS, check=False)
    return not done.returncode
