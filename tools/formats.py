"""The table of formats: ``python -m tools.formats`` decodes a file of each and writes
``docs/FORMATS.md`` between its two marks; with ``--check`` it changes nothing and exits 1 unless it
is current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from shared.errors import ItemError
from shared.pipeline import Preprocess
from shared.views.crop import Crop
from tools.format_samples import Sample, samples
from tools.marked import with_table
from workers.preprocess.decode import decode

PAGE = Path(__file__).resolve().parents[1] / "docs" / "FORMATS.md"
# Whether it is decoded depends on what is installed.
_VIEW = Crop(resize_shorter_pixels=256, crop_pixels=224)
_HEIC = "| HEIC | of several pictures the primary one | decoded with `requirements/heic.txt` |"


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tools.formats [--check]", file=sys.stderr)
        return 2
    page = PAGE.read_text()
    wanted = with_table(page, table(), "make formats")
    if not arguments:
        PAGE.write_text(wanted)
    elif page != wanted:
        print("docs/FORMATS.md is not current: make formats", file=sys.stderr)
        return 1
    return 0


def table() -> str:
    """A row for each sample."""
    rows = ["| format | variant | result |", "|---|---|---|"]
    for sample in samples():
        if sample.format == "gzip":
            rows.append(_HEIC)
        rows.append(f"| {sample.format} | {sample.variant} | {result(sample)} |")
    return "\n".join(rows) + "\n"


def result(sample: Sample) -> str:
    """What becomes of it, with the message of its row where it fails."""
    try:
        decoded = decode(sample.make(), Preprocess(), (_VIEW,))
    except ItemError as error:
        return f"`{error.item_code.value}`: {error.message}"
    return f"decoded, `warning: {decoded.warning}`" if decoded.warning else "decoded"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
