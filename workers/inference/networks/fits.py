"""Which of torchvision's architectures a state dict is of, and of how many classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import PermanentError
from workers.inference.networks.architectures import (
    Shapes,
    classifiers,
    detectors,
    families,
    options_of,
    shapes_of,
)
from workers.inference.networks.checkpoints import StateDict, without_prefixes
from workers.inference.networks.files import printable

# Batch norms count their batches since torch 0.4, and frozen ones do not.
_COUNTER = "num_batches_tracked"
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Fit:
    """A state dict beside an architecture.

    ``state``: the tensors by the architecture's own names. ``options``: what the architecture is
    built with. ``problem``: why it does not fit, in words; None where it does.
    """

    architecture: str
    state: StateDict
    options: dict[str, Any]
    problem: str | None = None


def fit(architecture: str, given: StateDict) -> Fit:
    """The fit of a state dict to the architecture of that name.

    Raises PermanentError ``unknown_architecture``,
    and ``bad_weights`` with what fits instead.
    """
    if architecture not in (*classifiers(), *detectors()):
        raise PermanentError(
            "unknown_architecture",
            f"torchvision has no classifier or detector named '{printable(architecture)}'.",
            "Leave the architecture out to find it by the weights, or give torchvision's name.",
        )
    tried = [_fit(architecture, state) for state in without_prefixes(given)]
    best = next((found for found in tried if found.problem is None), None)
    if best is not None:
        return best
    others = _fitting(given)
    raise PermanentError(
        "bad_weights",
        f"The weights do not fit torchvision's {architecture}: {tried[-1].problem}.",
        f"They fit {_either(others)}: give that architecture."
        if others
        else "Use a state dict of that architecture, saved by torch.save.",
    )


def guess(given: StateDict) -> Fit:
    """The fit to the one architecture of that state dict's names and shapes.

    Takes seconds: nothing is kept from one call to the next. Raises PermanentError
    ``bad_weights`` where there is none, and ``several_architectures``.
    """
    found = _fitting(given)
    if not found:
        names = _named(sorted(given))
        raise PermanentError(
            "bad_weights",
            f"The weights are of no network of torchvision's: {names}.",
            "Export the network to ONNX, and add that file.",
        )
    if len(found) > 1:
        raise PermanentError(
            "several_architectures",
            f"The weights fit {_either(found)}.",
            "Say which it is with --architecture.",
        )
    return found[0]


def _fitting(given: StateDict) -> list[Fit]:
    """Every architecture that fits: of a family, only where its smallest network is alike."""
    states, found = list(without_prefixes(given)), list[Fit]()
    for family in families():
        smallest = shapes_of(family[0], {"num_classes": 2})
        for state in states:
            if _is_akin(family, smallest, state):
                fits = (_fit(name, state) for name in family)
                found += [fit for fit in fits if fit.problem is None]
    return sorted(found, key=lambda fit: fit.architecture)


def _is_akin(family: Sequence[str], smallest: Shapes, state: StateDict) -> bool:
    """Whether a network's parts have such names, and a classifier's first tensor has that name."""
    if family[0] in classifiers() and next(iter(smallest)) not in state:
        return False
    return _parts(state) <= _parts(smallest)


def _parts(names: Iterable[str]) -> set[str]:
    return {name.split(".", 1)[0] for name in names}


def _fit(architecture: str, state: StateDict) -> Fit:
    """Built with one more class, the tensors that grow are those that depend on the classes."""
    options = options_of(architecture, state)
    base = _compared(architecture, {**options, "num_classes": 2})
    given = {name: tuple(t.shape) for name, t in state.items() if _is_compared(name)}
    if problem := _other_names(base, given):
        return Fit(architecture, state, options, problem)
    more = _compared(architecture, {**options, "num_classes": 3})
    classes = _classes(base, more, given)
    wanted = {
        name: tuple(
            two + (classes - 2) * (three - two)
            for two, three in zip(shape, more[name], strict=True)
        )
        for name, shape in base.items()
    }
    problem = _other_shapes(wanted, given)
    if problem is None and classes < (least := 1 + (architecture in detectors())):
        problem = f"they tell {classes} classes apart, and {least} are needed at least"
    return Fit(architecture, state, {**options, "num_classes": classes}, problem)


def _other_names(wanted: Shapes, given: Shapes) -> str | None:
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing ({_named(missing)})")
    if unknown:
        parts.append(f"{len(unknown)} belong to another network ({_named(unknown)})")
    return " and ".join(parts) or None


def _other_shapes(wanted: Shapes, given: Shapes) -> str | None:
    for name, shape in wanted.items():
        if given[name] != shape:
            return f"{name} has the shape {list(given[name])[:8]}, and {list(shape)} is needed"
    return None


def _classes(two: Shapes, three: Shapes, given: Shapes) -> int:
    """By the first tensor that has them; 0 where it has no such number.

    Each class has as many rows as a third one adds, which for a detector is one an anchor.
    """
    for name, shape in two.items():
        for axis, (before, after) in enumerate(zip(shape, three[name], strict=True)):
            if after > before and len(given[name]) == len(shape):
                rows, left = divmod(given[name][axis] - before, after - before)
                return 0 if left else rows + 2
    return 0


def _compared(architecture: str, options: dict[str, Any]) -> Shapes:
    shapes = shapes_of(architecture, options)
    return {name: shape for name, shape in shapes.items() if _is_compared(name)}


def _is_compared(name: str) -> bool:
    return not name.endswith(f".{_COUNTER}")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_NAMED])
    return f"{shown}, …" if len(names) > _NAMED else shown


def _either(fits: Sequence[Fit]) -> str:
    return " and ".join(dict.fromkeys(found.architecture for found in fits))
