"""Decodes and resizes files with little memory: ``python -m tests.support.bounded_decoder FOLDER``.

Prints a JSON object: for each file its error code or "ok", and under "peak_bytes" how far memory
grew over all of them.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from shared.errors import ItemError
from tests.support.samples import pipeline
from workers.preprocess.fill import ImageFiller, empty_row
from workers.preprocess.resize import use_one_thread

# What may be mapped beyond what it takes to begin, as in the child of a suspect run.
SPARE_BYTES = 3 * 2**30


def peak_bytes() -> int:
    """The largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def decode(data: bytes) -> str:
    """The error code of one image, or "ok"."""
    usual = pipeline()
    try:
        ImageFiller(usual)([empty_row(view) for view in usual.staged_views], data)
    except ItemError as error:
        return error.item_code.value
    return "ok"


def main() -> None:
    """Decode every file of the folder."""
    use_one_thread()
    mapped_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = mapped_pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = peak_bytes()
    found: dict[str, object] = {
        path.name: decode(path.read_bytes()) for path in sorted(Path(sys.argv[1]).iterdir())
    }
    print(json.dumps({**found, "peak_bytes": peak_bytes() - before}))


if __name__ == "__main__":
    main()
