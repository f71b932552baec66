"""Fails on versions with known holes: ``python -m tools.holes``, without a network.

What is known is in ``requirements/holes.toml``. Pins are looked at, and what is installed here.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"


@dataclass(frozen=True, slots=True)
class Hole:
    """Every version of ``package`` below ``below`` has it."""

    package: str
    below: Version
    why: str


def known_holes(folder: Path = REQUIREMENTS) -> list[Hole]:
    """What ``holes.toml`` says."""
    entries = tomllib.loads((folder / "holes.toml").read_text())["hole"]
    return [
        Hole(canonicalize_name(e["package"]), Version(e["below"]), str(e["why"])) for e in entries
    ]


def pins(folder: Path = REQUIREMENTS) -> Iterator[tuple[str, Version, str]]:
    """Package, version and where it is pinned."""
    for path in sorted(folder.glob("*.txt")):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                pin = Requirement(line)
                (version,) = pin.specifier
                yield canonicalize_name(pin.name), Version(version.version), path.name


def installed() -> Iterator[tuple[str, Version, str]]:
    """Package, version, and that it is installed."""
    for distribution in metadata.distributions():
        yield canonicalize_name(distribution.name), Version(distribution.version), "installed"


def found(holes: list[Hole], versions: Iterator[tuple[str, Version, str]]) -> list[str]:
    """A line for each version that has a known hole."""
    by_package = {hole.package: hole for hole in holes}
    return [
        f"{package} {version} ({where}) is below {hole.below}. {hole.why}"
        for package, version, where in versions
        if (hole := by_package.get(package)) is not None and version < hole.below
    ]


def main() -> int:
    """Print what has a hole. Returns the exit code."""
    holes = known_holes()
    lines = sorted({*found(holes, pins()), *found(holes, installed())})
    print("\n".join(lines) or f"None of {len(holes)} known holes.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
