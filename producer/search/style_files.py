"""The files that ``styles`` writes: a table of keys and groups, and images of the groups."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from producer.exports.formats import Format
from producer.exports.writing import write_rows, writing_to
from producer.search.contact_sheets import draw_sheets
from producer.search.groups import Grouping
from shared.contact_sheets import ContactSheet, ContactSheets
from shared.errors import UsageError
from shared.job import JobSpec

_SHEET = re.compile(r"group-[0-9]{2,}\.jpg")


def sheets_folder(file: Path) -> Path:
    """Beside ``styles.csv`` the folder ``styles.csv.sheets``."""
    return file.with_name(f"{file.name}.sheets")


def sheet_name(number: int) -> str:
    """The name of a group's image in that folder: ``group-01.jpg``, and so on."""
    return f"group-{number:02}.jpg"


def write_styles(
    grouping: Grouping,
    spec: JobSpec,
    home: Path,
    file: Path,
    form: Format,
    progress: Callable[[int], None],
) -> int:
    """Write the table, and beside it a folder with a sheet for each group. Both are replaced.

    A folder that holds anything but sheets is an error; then nothing is written. No file is there
    in part. Returns how many images could not be drawn. Raises HeadraceError.
    """
    folder = sheets_folder(file)
    with writing_to(file):
        _require_replaceable(folder)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".headrace-styles-") as workplace:
            made = Path(workplace)
            table, drawn = made / "table", made / "sheets"
            drawn.mkdir()
            with table.open("wb") as output:
                write_rows([grouping.table], grouping.table.schema, form, output)
            sheets = tuple(
                ContactSheet(
                    path=drawn.absolute() / sheet_name(group.number), items=tuple(group.typical)
                )
                for group in grouping.groups
            )
            request = ContactSheets(
                home=home, bucket=spec.bucket, preprocess=spec.pipeline.preprocess, sheets=sheets
            )
            missing = draw_sheets(request, progress) if sheets else 0
            _require_replaceable(folder)  # drawing took a while
            if folder.exists():
                folder.rename(made / "earlier")
            drawn.rename(folder)
            table.replace(file)
    return missing


def _require_replaceable(folder: Path) -> None:
    """Raise UsageError unless there is no such folder, or it holds contact sheets alone."""
    if folder.is_dir() and not folder.is_symlink():
        others = [path for path in folder.iterdir() if not _is_sheet(path)]
    else:
        others = [folder] if os.path.lexists(folder) else []
    if others:
        raise UsageError(
            "not_sheets",
            f"The contact sheets replace {folder}, and {min(others)} is none of them.",
            "Move it away, or choose another FILE.",
        )


def _is_sheet(path: Path) -> bool:
    is_file = path.is_file() and not path.is_symlink()
    return is_file and _SHEET.fullmatch(path.name) is not None
