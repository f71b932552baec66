"""Two kinds of analysis that the product does not have, as new files alone: ``FILES``, by path.

``brightness`` is computed on the CPU, ``margin`` by a head from a network's scores.
"""

from __future__ import annotations

import hashlib
import shutil
import sysconfig
import venv
from pathlib import Path

from shared.settings import PROJECT_ROOT

_HERE = Path(__file__).parent
# The names begin with the folder that the file belongs into.
FILES = {
    "shared/analyses/brightness.py": "shared_brightness.txt",
    "workers/preprocess/analyses/brightness.py": "preprocess_brightness.txt",
    "shared/analyses/margin.py": "shared_margin.txt",
    "workers/inference/heads/margin.py": "head_margin.txt",
    "config/pipelines/planted.yaml": "planted.yaml",
}
PACKAGES = ("shared", "workers", "producer", "config", "tests")


def copy_with_plants(root: Path) -> dict[str, str]:
    """Copy the project to ``root``, and add the files. Returns what was there before, hashed."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT_ROOT / package, root / package, ignore=ignored)
    before = hashes(root)
    for path, source in FILES.items():
        assert path not in before
        shutil.copyfile(_HERE / source, root / path)
    return before


def interpreter(root: Path) -> str:
    """One of its own that finds the packages of the copy, and all others where we find them."""
    venv.create(root / ".venv", symlinks=True)
    libraries = sysconfig.get_path("purelib", vars={"base": str(root / ".venv")})
    lines = [str(root), sysconfig.get_path("purelib")]
    (Path(libraries) / "copy.pth").write_text("\n".join(lines) + "\n")
    return str(root / ".venv" / "bin" / "python")


def hashes(root: Path) -> dict[str, str]:
    """The files below ``root``, by their paths there."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
