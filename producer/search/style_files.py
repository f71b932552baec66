"""The files that ``styles`` writes: a table of keys and groups, and an image for each group."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from producer.exports.formats import Format
from producer.exports.writing import write_rows
from producer.search.contact_sheets import draw_sheets
from producer.search.groups import Grouping
from shared.contact_sheets import ContactSheet, ContactSheets
from shared.errors import PermanentError
from shared.job import JobSpec


def sheet_name(file: Path, number: int) -> str:
    """Beside ``styles.csv`` the images ``styles-group-01.jpg`` and so on."""
    return f"{file.stem}-group-{number:02}.jpg"


def write_styles(
    grouping: Grouping,
    spec: JobSpec,
    home: Path,
    file: Path,
    form: Format,
    progress: Callable[[int], None],
) -> int:
    """Write the table, and a sheet beside it for each group; those that are there are replaced.

    No file is there in part, and sheets of an earlier call that had more groups are removed.
    Returns how many images could not be drawn. Raises HeadraceError.
    """
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".headrace-styles-") as folder:
            made = Path(folder)
            table = made / "table"
            with table.open("wb") as output:
                write_rows([grouping.table], grouping.table.schema, form, output)
            names = {group.number: sheet_name(file, group.number) for group in grouping.groups}
            sheets = tuple(
                ContactSheet(path=made.absolute() / names[group.number], items=tuple(group.typical))
                for group in grouping.groups
            )
            request = ContactSheets(
                home=home, bucket=spec.bucket, preprocess=spec.pipeline.preprocess, sheets=sheets
            )
            missing = draw_sheets(request, progress) if sheets else 0
            for sheet in sheets:
                sheet.path.replace(file.with_name(sheet.path.name))
            table.replace(file)
        _remove_others(file, set(names.values()))
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise PermanentError(
            "file_not_written",
            f"Cannot write {file}: {getattr(error, 'strerror', None) or error}.",
            "Choose another path.",
        ) from error
    return missing


def _remove_others(file: Path, written: set[str]) -> None:
    pattern = re.compile(re.escape(file.stem) + r"-group-[0-9]{2,}\.jpg")
    for path in file.parent.iterdir():
        if pattern.fullmatch(path.name) and path.name not in written:
            path.unlink()
