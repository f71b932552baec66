"""The ``headrace`` command, also ``python -m producer``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from shared.environment import TERMINAL_ENCODING, settle, terminal_encoding


def main() -> NoReturn:
    """Run one command with the arguments of this process, and exit with its code."""
    encoding = terminal_encoding()
    settle(**{TERMINAL_ENCODING: encoding})
    # Libraries read their variables when they are imported.
    from producer.cli.exits import run

    code = run(sys.argv[1:], encoding)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it or its disk is full, and run() has answered to that
            continue
    # At once: threads of native libraries that meet a dying interpreter abort the process.
    os._exit(code)


if __name__ == "__main__":
    main()
