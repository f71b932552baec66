"""Where a user's class lies: the plugins folder, and nowhere else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shared.errors import UsageError


def plugin_source(python_class: str, plugins: Path) -> tuple[Path, bytes]:
    """The file below ``plugins`` that ``module:Class`` names, and its bytes; it is not imported.

    Raises UsageError ``no_plugin``.
    """
    base = plugins.joinpath(*python_class.partition(":")[0].split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        try:
            return path, path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            raise UsageError("no_plugin", f"Cannot read {path}: {error.strerror}.") from error
    raise UsageError(
        "no_plugin",
        f"There is no module for '{python_class}' in the plugins folder {plugins}.",
        "Put it there, or set HEADRACE_PLUGINS to the folder that has it.",
    )


def plugin_sha256(source: bytes) -> str:
    """The version of a user's model: the hash of the file that defines its class."""
    return hashlib.sha256(source).hexdigest()
