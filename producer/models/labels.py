"""The names of a model's classes, as a file or a model has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.catalog.exports import MAX_LABELS, ExportedModel
from shared.errors import UsageError
from shared.limits import MAX_LABEL_CHARACTERS

_MAX_BYTES = 2**26
_SHOWN_REPEATED = 5


def read_labels(path: Path) -> tuple[str, ...]:
    """One class a line, in UTF-8; empty lines at the end are none. Raises UsageError."""
    try:
        if path.is_file() and path.stat().st_size > _MAX_BYTES:
            raise _wrong(path, f"has more than {_MAX_BYTES:,} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            "file_not_read", f"Cannot read {path}: {error.strerror}.", "Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise _wrong(path, "is not text in UTF-8") from error
    # Not splitlines(): a label may have Unicode's own line ends in it.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    labels = [line.strip() for line in lines]
    while labels and not labels[-1]:
        labels.pop()
    if not labels or len(labels) > MAX_LABELS:
        raise _wrong(path, f"has {len(labels):,} labels")
    if "" in labels:
        raise _wrong(path, f"has an empty line, {labels.index('') + 1}")
    if max(map(len, labels)) > MAX_LABEL_CHARACTERS:
        raise _wrong(path, f"has a label of more than {MAX_LABEL_CHARACTERS:,} characters")
    return tuple(labels)


def labels_of(exported: ExportedModel, given: Sequence[str] | None) -> list[str]:
    """Those that were given, or else the model's own; none where it has none that can be used."""
    if given is not None:
        return list(given[exported.names_background :])
    own = [" ".join(label.split()) for label in exported.labels or ()]
    are_usable = all(0 < len(label) <= MAX_LABEL_CHARACTERS for label in own)
    return own if are_usable else []


def about_labels(exported: ExportedModel, labels: Sequence[str]) -> Iterator[str]:
    """What a user should know of the names that a model comes with, in sentences."""
    if not labels:
        count = exported.classes or exported.outputs.get("scores")
        if count or exported.layout:
            classes = f"{count:,} classes" if count else "classes"
            yield f"It has no names for its {classes}: rows have numbers. Give --labels."
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        shown = ", ".join(repr(label[:40]) for label in repeated[:_SHOWN_REPEATED])
        rest = len(repeated) - _SHOWN_REPEATED
        more = f" and {rest:,} more" if rest > 0 else ""
        yield f"Several classes have the same name: {shown}{more}. COCO exports make them one."


def labels_text(labels: Sequence[str]) -> bytes:
    """As they lie in the bucket: one a line."""
    return "".join(f"{label}\n" for label in labels).encode()


def _wrong(path: Path, problem: str) -> UsageError:
    return UsageError("wrong_labels", f"{path} {problem}.", "Write one class a line, in UTF-8.")
