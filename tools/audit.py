"""Asks the vulnerability database about every pin: ``python -m tools.audit``.

pip-audit calls it well when the database knows nothing of a package, and when it does not answer;
so what was not audited is counted, and said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tools.holes import REQUIREMENTS


def ask() -> tuple[str, str]:
    """What pip-audit prints on stdout and stderr."""
    files = [f"--requirement={path}" for path in sorted(REQUIREMENTS.glob("*.txt"))]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format=json", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


def report(stdout: str, stderr: str) -> tuple[int, list[str]]:
    """The exit code, and the lines that say what came of it."""
    try:
        packages: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except ValueError:
        packages = []
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        reason = (stderr.strip().splitlines() or ["it says nothing"])[-1] if not packages else ""
        return 0, [f"Not audited: the vulnerability database does not answer. {reason}".rstrip()]
    lines = [
        f"{package['name']} {package['version']}: {hole['id']}, "
        f"fixed in {', '.join(hole['fix_versions']) or 'no version'}"
        for package in audited
        for hole in package["vulns"]
    ]
    silent = len(packages) - len(audited)
    about = f"{len(audited)} packages audited, {silent} that the database does not know."
    return (1 if lines else 0), [*lines, about]


def main() -> int:
    """Print the report. Returns the exit code."""
    code, lines = report(*ask())
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
