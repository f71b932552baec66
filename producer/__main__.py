"""The ``headrace`` command, also ``python -m producer``."""

from __future__ import annotations

import sys

from producer.cli.exits import run


def main() -> int:
    """Run one command with the arguments of this process. Returns the exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
