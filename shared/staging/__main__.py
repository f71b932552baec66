"""``python -m shared.staging``: make the ring of this host's workers, unless it is there.

For where nothing like ``headrace up`` does, as in containers. Any number may run at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.environment import settle

if __name__ == "__main__":
    settle()

from shared.errors import HeadraceError, PermanentError
from shared.locks import Lock
from shared.settings import load_settings
from shared.staging.layout import create_ring


def main() -> int:
    """Returns the exit code; one line on stderr says why there is no ring."""
    try:
        ring = load_settings().ring
        with _alone(ring.directory.parent):
            create_ring(ring)
    except PermanentError as error:
        hint = "Give it more room: HEADRACE_STAGING_MIB with docker-compose.yml."
        return _failed(f"{error.message} {hint}")
    except (HeadraceError, OSError) as error:
        return _failed(str(error))
    return 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = Lock.wait_for(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        lock.release()


def _failed(why: str) -> int:
    print(f"headrace: error: {why}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
