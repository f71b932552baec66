"""Which analyses one run of a model answers, and the answers of all runs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.pipeline import Pipeline, view_of
from shared.placement import Size
from workers.inference.engines import Outputs
from workers.inference.errors import of_analyses
from workers.inference.heads import Answered, ClassOutputs, NetworkOutputs, head_of
from workers.inference.model_types import ModelKey
from workers.inference.submission import InferenceResult


@dataclass(frozen=True, slots=True)
class Group:
    """Analyses of one model in one view.

    ``view``: its number among the pipeline's staged views.
    ``analyses``: their names.
    """

    key: ModelKey
    view: int
    analyses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a group came to for the images from ``first`` to before ``end``."""

    group: Group
    first: int
    end: int
    result: InferenceResult | ItemFailure


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to the analyses that were asked for.

    ``columns``: by analysis, a value for each image, of the analysis's ``answer_type``.
    ``failures``: by the number of the image, which has failed in all analyses then.
    ``engines``: what computed, by analysis; only of those that something computed.
    ``runs``: of the device.
    """

    columns: dict[str, pa.Array] = field(default_factory=dict)
    failures: dict[int, ItemFailure] = field(default_factory=dict)
    engines: dict[str, EngineChoice] = field(default_factory=dict)
    runs: list[InferenceResult] = field(default_factory=list)


def grouped(pipeline: Pipeline, keys: Mapping[str, ModelKey]) -> list[Group]:
    """The runs that answer the analyses whose models are ``keys``, by name."""
    found: dict[tuple[ModelKey, int], list[str]] = {}
    for name, key in keys.items():
        view = pipeline.staged_views.index(view_of(pipeline.analyses[name]))
        found.setdefault((key, view), []).append(name)
    return [Group(key, view, tuple(names)) for (key, view), names in found.items()]


def answers_of(
    pipeline: Pipeline,
    group: Group,
    outputs: Outputs,
    labels: Sequence[str],
    sizes: Sequence[Size],
) -> dict[str, Answered]:
    """The answers of one run, by analysis.

    Raises ModelUnusable where a network does not give what an analysis reads.
    """
    given: NetworkOutputs | ClassOutputs
    if isinstance(outputs, tuple):
        given = dict(zip(group.key.model.outputs, outputs, strict=False))
    else:
        given = outputs
    found = {}
    for name in group.analyses:
        analysis = pipeline.analyses[name]
        with of_analyses(name):
            answered = head_of(analysis.kind).answers(analysis, given, labels, sizes)
        failures = {i: naming(pipeline, name, each) for i, each in answered.failures.items()}
        found[name] = Answered(answered.values, failures)
    return found


def naming(pipeline: Pipeline, analysis: str, failure: ItemFailure) -> ItemFailure:
    """The failure, of which the long form says in which analysis it happened."""
    if pipeline.form == "short":
        return failure
    return ItemFailure.of(failure.error_code, f"{analysis}: {failure.error_message}")


def answers_from(pipeline: Pipeline, parts: Sequence[Part], sizes: Sequence[Size]) -> Answers:
    """The answers of all parts, which cover every image for each of their groups, in order."""
    found = Answers()
    columns: dict[str, list[pa.Array]] = {}
    failures: dict[str, dict[int, ItemFailure]] = {}
    for part in parts:
        run, first, end = part.result, part.first, part.end
        if isinstance(run, ItemFailure):
            answered = _all_failed(pipeline, part.group, end - first, run)
        else:
            found.runs.append(run)
            found.engines.update(dict.fromkeys(part.group.analyses, run.model.choice))
            answered = answers_of(
                pipeline, part.group, run.outputs, run.model.labels, sizes[first:end]
            )
        for name, each in answered.items():
            columns.setdefault(name, []).append(each.values)
            moved = {first + image: failure for image, failure in each.failures.items()}
            failures.setdefault(name, {}).update(moved)
    for name, arrays in columns.items():
        found.columns[name] = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
    for name in pipeline.analyses:  # an image that fails in several says the first
        for image, failure in failures.get(name, {}).items():
            found.failures.setdefault(image, failure)
    return found


def _all_failed(
    pipeline: Pipeline, group: Group, images: int, failure: ItemFailure
) -> dict[str, Answered]:
    failures = dict.fromkeys(range(images), failure)
    types = {name: pipeline.analyses[name].answer_type() for name in group.analyses}
    return {name: Answered(pa.nulls(images, kind), failures) for name, kind in types.items()}
