"""What may stand in a pipeline's file: the short form, of one analysis, or the long one.

Both follow from the kinds in ``shared.analyses`` and ``shared.views``; sections written by hand are
in ``shared.catalog.sections``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast

from pydantic import Discriminator, Field, Tag, create_model, model_validator

from shared.analyses import ANALYSES, Analysis, NetworkAnalysis
from shared.catalog.documents import Document
from shared.catalog.documents import Field as Place
from shared.catalog.model_files import Line
from shared.catalog.sections import (
    Arguments,
    ClassReference,
    ColumnName,
    FileModel,
    PreprocessSection,
    Section,
    SizedPreprocess,
)
from shared.fields import Frozen
from shared.kinds import one_of
from shared.model import MAX_FILES, MAX_VARIABLES, VariableName
from shared.pipeline import MAX_ANALYSES, PipelineFields

# What an error says of a field whose text does not fit its pattern.
FORMS = {
    "name": "lower-case letters, digits, '_', '.' and '-', 64 at most",
    "model": "NAME, NAME@SHA256 with all 64 digits (see 'headrace models show NAME') or "
    "{python: module:Class}",
    "python": "module:Class",
    "pypi": "PACKAGE==VERSION",
    "url": "https://...",
    "environment": "names of variables, as in [MY_TOKEN]",
    "sha256": "64 hexadecimal digits, in lower case",
    "analyses[key]": "lower-case letters, digits and '_', a letter first, 63 at most",
    "fields[key]": "letters, digits and '_', no digit first, 63 at most",
}
DEFAULT_KIND = "classes"
_LONG = "<long form>"


@dataclass(frozen=True, slots=True)
class Asked:
    """One analysis of a file. ``options``: those that are said; ``model`` is none of them."""

    kind: type[Analysis]
    options: dict[str, Any]
    model: str | ClassReference | None


class PipelineFile(PipelineFields):
    """What a file says in either form: fields of a pipeline, and what only a file has."""

    description: Line | None = Field(
        None, description="What the pipeline is for, as `headrace pipelines list` shows it."
    )
    files: list[Line] = Field(
        default=[],
        max_length=MAX_FILES,
        description="Files that travel with the job for its class, by paths relative to this file.",
    )
    environment: list[VariableName] = Field(
        default=[],
        max_length=MAX_VARIABLES,
        description="Names of the worker's environment variables that the class may see.",
    )

    def asked(self) -> dict[str, Asked]:
        """The analyses by the names of their columns."""
        raise NotImplementedError

    def place_of(self, analysis: str, option: str) -> tuple[str, ...]:
        """Where an option of an analysis stands in the file."""
        return ("analyses", analysis, option)

    def place_of_argument(self, model: Place, name: str) -> Place:
        """Where an argument of a class stands; ``model``: where its class is named."""
        return (*model, "args", name)


class ShortFile(PipelineFile):
    """One analysis of one model, in a square crop.

    There is a class of it for each kind that a model answers: ``postprocess`` has its options.
    """

    preprocess: SizedPreprocess = SizedPreprocess()
    model: FileModel = Field(description=NetworkAnalysis.model_fields["model"].description)
    args: Arguments | None = Field(
        None, description="The same as `model.args`, for a class that has a file in config/models."
    )
    gives: str = Field(
        DEFAULT_KIND,
        description="What the model gives for each image. `classes` fills the columns `label`, "
        "`score` and `predictions`; any other has a column of its own, of that name.",
    )
    postprocess: Section = Section()

    @model_validator(mode="after")
    def _args_once(self) -> ShortFile:
        if self.args is not None and isinstance(self.model, ClassReference) and self.model.args:
            raise ValueError("args stands in model as well: leave one out")
        return self

    def asked(self) -> dict[str, Asked]:
        """See ``PipelineFile``."""
        options = _said(self.postprocess) | {
            name: value for name, value in _said(self).items() if name in _OF_EVERY_NETWORK
        }
        return {self.gives: Asked(ANALYSES[self.gives], options | {"kind": self.gives}, self.model)}

    def place_of(self, analysis: str, option: str) -> tuple[str, ...]:  # noqa: ARG002 - one alone
        """See ``PipelineFile``."""
        return (option,) if option in type(self).model_fields else ("postprocess", option)

    def place_of_argument(self, model: Place, name: str) -> Place:
        """See ``PipelineFile``."""
        return ("args", name) if self.args else super().place_of_argument(model, name)


def _said(section: Frozen) -> dict[str, Any]:
    return {name: getattr(section, name) for name in section.model_fields_set}


# Beside ``kind``, ``view`` and ``model``, which the short form says in its own way.
_OF_EVERY_NETWORK = NetworkAnalysis.model_fields.keys() - Analysis.model_fields.keys() - {"model"}


def _short_file(kind: str, analysis: type[Analysis]) -> type[ShortFile]:
    def declared(names: Any) -> dict[str, Any]:
        infos = ((name, analysis.model_fields[name]) for name in names)
        return {name: (info.annotation, info) for name, info in infos}

    own = [name for name in analysis.model_fields if name not in NetworkAnalysis.model_fields]
    name = analysis.__name__
    options: Any = create_model(
        f"{name}Options", __base__=Section, __doc__=analysis.__doc__, **declared(own)
    )
    gives: Any = Literal[kind]
    default: Any = kind if kind == DEFAULT_KIND else ...
    described = ShortFile.model_fields["gives"].description
    shared = [each for each in analysis.model_fields if each in _OF_EVERY_NETWORK]
    fields: dict[str, Any] = declared(shared) | {
        "gives": (gives, Field(default, description=described)),
        # Validated, so that an option that is missing is named.
        "postprocess": (options, Field(default={}, validate_default=True)),
    }
    return create_model(f"{name}File", __base__=ShortFile, __doc__=ShortFile.__doc__, **fields)


def _section(kind: str, analysis: type[Analysis]) -> type[Analysis]:
    fields: dict[str, Any] = {"kind": (Literal[kind], Field(description="What is asked."))}
    if issubclass(analysis, NetworkAnalysis):
        info = NetworkAnalysis.model_fields["model"]
        fields["model"] = (FileModel, Field(description=info.description))
    bases: Any = (Section, analysis)
    section: Any = create_model(
        f"{analysis.__name__}Section", __base__=bases, __doc__=analysis.__doc__, **fields
    )
    return cast("type[Analysis]", section)


SECTIONS = {kind: _section(kind, analysis) for kind, analysis in ANALYSES.items()}
SHORT_FILES = {
    kind: _short_file(kind, analysis)
    for kind, analysis in ANALYSES.items()
    if issubclass(analysis, NetworkAnalysis)
}
if TYPE_CHECKING:
    AnySection = Analysis
else:
    AnySection = one_of(SECTIONS)


class LongFile(PipelineFile):
    """Any number of analyses, by the names of their columns."""

    preprocess: PreprocessSection = PreprocessSection()
    analyses: dict[ColumnName, AnySection] = Field(min_length=1, max_length=MAX_ANALYSES)

    def asked(self) -> dict[str, Asked]:
        """See ``PipelineFile``."""
        return {
            name: Asked(
                ANALYSES[section.kind],
                {option: said for option, said in _said(section).items() if option != "model"},
                getattr(section, "model", None),
            )
            for name, section in self.analyses.items()
        }


def _form(values: Any) -> str | None:
    if not isinstance(values, dict):
        return None
    if "analyses" in values:
        return _LONG
    return f"<{DEFAULT_KIND if (gives := values.get('gives')) is None else gives}>"


_FORMS = {_LONG: LongFile} | {f"<{kind}>": file for kind, file in SHORT_FILES.items()}
_tagged = tuple(Annotated[file, Tag(tag)] for tag, file in _FORMS.items())
PIPELINE_FILE: Any = Annotated[Union[_tagged], Discriminator(_form)]  # noqa: UP007 - made at run time


def models_by_name(document: Document) -> Iterator[tuple[Place, str, str]]:
    """Place, kind and name of each model that is named, of a file that nobody has checked."""
    values = document.values
    asked: dict[Place, Any] = {(): {"kind": values.get("gives"), "model": values.get("model")}}
    if isinstance(analyses := values.get("analyses"), dict):
        asked = {("analyses", name): each for name, each in analyses.items()}
    for place, each in asked.items():
        kind, model = map(each.get, ("kind", "model")) if isinstance(each, dict) else (None, None)
        if isinstance(kind, str) and isinstance(model, str):
            yield (*place, "model"), kind, model


def refuse_mixed(document: Document) -> None:
    """Raise UsageError where a file in the long form says what only the short one has."""
    if "analyses" not in document.values:
        return
    short_alone = (ShortFile.model_fields.keys() | _OF_EVERY_NETWORK) - LongFile.model_fields.keys()
    for field in document.values:
        if field in short_alone:
            raise document.error(
                (field,), "belongs to the short form; with 'analyses:', say it in an analysis"
            )
    sizes = SizedPreprocess.model_fields.keys() - PreprocessSection.model_fields.keys()
    given = document.values.get("preprocess")
    for field in sorted(sizes & given.keys()) if isinstance(given, dict) else ():
        raise document.error(
            ("preprocess", field),
            "belongs to the short form; with 'analyses:', give an analysis a view, as in "
            "'view: {kind: crop, resize_shorter_pixels: 256, crop_pixels: 224}'",
        )
