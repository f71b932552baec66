"""The ``headrace`` command, also ``python -m producer``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from shared.environment import settle


def main() -> NoReturn:
    """Run one command with the arguments of this process, and exit with its code."""
    settle()
    from producer.cli.exits import run  # libraries read their variables when they are imported

    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # whoever read us has gone, and run() has answered to that
            continue
    # At once: threads of native libraries that meet a dying interpreter abort the process.
    os._exit(code)


if __name__ == "__main__":
    main()
