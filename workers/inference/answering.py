"""Groups of analyses that share a run of a model, and the answers from all runs of a chunk."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from shared.analyses import Analysis
from shared.item import ItemFailure
from shared.job import EngineChoice
from shared.pipeline import Pipeline, view_of
from shared.placement import Size
from workers.inference.engines import Outputs
from workers.inference.errors import ModelUnusable, model_failure, of_analyses, one_line
from workers.inference.heads import ClassOutputs, HeadAnswers, NetworkOutputs, head_of
from workers.inference.model_types import ModelKey, network_outputs
from workers.inference.submission import InferenceResult

# A head that raises does so for every chunk: its traceback is logged once for each of so many
# analyses.
_LOGGED_ANALYSES = 256

log = logging.getLogger(__name__)
_logged: deque[tuple[str, str]] = deque(maxlen=_LOGGED_ANALYSES)  # pipeline and analysis


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
class GroupRun:
    """One run of a group, over the images from ``first`` up to ``end``, which is not among them.

    ``result``: the run's outputs, or why all of these images failed.
    """

    group: Group
    first: int
    end: int
    result: InferenceResult | ItemFailure


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to the analyses that were asked for.

    ``columns``: by analysis, a value for each image, of the analysis's ``answer_type``.
    ``failures``: by the number of the image; it has failed in all analyses then.
    ``engines``: by analysis, the engine that computed it; without those that none computed.
    ``runs``: the device's runs.
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
) -> dict[str, HeadAnswers]:
    """The answers of one run, by analysis.

    Where a head raises, or gives answers that do not fit, all images fail.
    Raises ModelUnusable where a head does.
    """
    found = {}
    for name in group.analyses:
        try:
            with of_analyses(name):
                answered = _head_answers(pipeline.analyses[name], group, outputs, labels, sizes)
        except ModelUnusable:
            raise
        except Exception as error:  # noqa: BLE001 - a wrong head must not stop a chunk for ever
            _log_first(pipeline, name)
            failure = model_failure(
                f"The model's outputs cannot be read as {pipeline.analyses[name].kind}: "
                f"{one_line(error)}."
            )
            answered = _all_failed(pipeline, [name], len(sizes), failure)[name]
        failures = {i: naming(pipeline, name, each) for i, each in answered.failures.items()}
        found[name] = HeadAnswers(answered.values, failures)
    return found


def _head_answers(
    analysis: Analysis,
    group: Group,
    outputs: Outputs,
    labels: Sequence[str],
    sizes: Sequence[Size],
) -> HeadAnswers:
    """A head's answers. Raises what the head does, and ValueError where they do not fit."""
    given: NetworkOutputs | ClassOutputs = (
        network_outputs(group.key, outputs) if isinstance(outputs, tuple) else outputs
    )
    answered = head_of(analysis.kind).answers(analysis, given, labels, sizes)
    values, failures, images = answered.values, answered.failures, len(sizes)
    if len(values) != images:
        raise ValueError(f"{len(values)} answers for {images} images")
    if values.type != analysis.answer_type():
        raise ValueError(f"answers of type {values.type}, not {analysis.answer_type()}")
    if not failures.keys() <= set(range(images)):
        raise ValueError(f"failures of other images than the {images} that there are")
    if values.null_count > len(failures):
        raise ValueError("images without an answer that did not fail")
    return answered


def _log_first(pipeline: Pipeline, analysis: str) -> None:
    """Log the exception in hand with its traceback, where it is the analysis's first."""
    if (pipeline.name, analysis) not in _logged:
        _logged.append((pipeline.name, analysis))
        log.exception("the answers to '%s' of '%s' cannot be read", analysis, pipeline.name)


def naming(pipeline: Pipeline, analysis: str, failure: ItemFailure) -> ItemFailure:
    """The failure, of which the long form says in which analysis it happened."""
    if pipeline.form == "short":
        return failure
    return ItemFailure.of(failure.error_code, f"{analysis}: {failure.error_message}")


def answers_from(
    pipeline: Pipeline, group_runs: Sequence[GroupRun], sizes: Sequence[Size]
) -> Answers:
    """The answers of all runs, which cover every image for each of their groups, in order."""
    found = Answers()
    columns: dict[str, list[pa.Array]] = {}
    failures: dict[str, dict[int, ItemFailure]] = {}
    for group_run in group_runs:
        group, first, end = group_run.group, group_run.first, group_run.end
        run = group_run.result
        if isinstance(run, ItemFailure):
            answered = _all_failed(pipeline, group.analyses, end - first, run)
        else:
            found.runs.append(run)
            found.engines.update(dict.fromkeys(group.analyses, run.model.choice))
            answered = answers_of(pipeline, group, run.outputs, run.model.labels, sizes[first:end])
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
    pipeline: Pipeline, analyses: Sequence[str], images: int, failure: ItemFailure
) -> dict[str, HeadAnswers]:
    failures = dict.fromkeys(range(images), failure)
    types = {name: pipeline.analyses[name].answer_type() for name in analyses}
    return {name: HeadAnswers(pa.nulls(images, kind), failures) for name, kind in types.items()}
