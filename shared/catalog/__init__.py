"""Pipelines and models: YAML files, checked to the line, and resolved to values."""

from shared.catalog.catalog import Catalog, Entry, constants, labels, weights_model
from shared.catalog.classes import PackedClass
from shared.catalog.files import PipelineFile
from shared.catalog.inspect import (
    PipelineSummary,
    PipelineView,
    list_pipelines,
    show_pipeline,
    validate_file,
)
from shared.catalog.model_files import ClassModelFile, ModelFile, WeightsModelFile
from shared.catalog.objects import NotOurs, folders, listed
from shared.catalog.published import (
    ModelConstants,
    PublishedModel,
    current,
    model_key,
    publish,
    published,
    published_versions,
)
from shared.catalog.references import references
from shared.catalog.releases import (
    BucketModels,
    Models,
    current_release,
    release,
    release_key,
    released,
    releases,
)
from shared.catalog.resolve import Resolved, require_unchanged, resolve

__all__ = [
    "BucketModels",
    "Catalog",
    "ClassModelFile",
    "Entry",
    "ModelConstants",
    "ModelFile",
    "Models",
    "NotOurs",
    "PackedClass",
    "PipelineFile",
    "PipelineSummary",
    "PipelineView",
    "PublishedModel",
    "Resolved",
    "WeightsModelFile",
    "constants",
    "current",
    "current_release",
    "folders",
    "labels",
    "list_pipelines",
    "listed",
    "model_key",
    "publish",
    "published",
    "published_versions",
    "references",
    "release",
    "release_key",
    "released",
    "releases",
    "require_unchanged",
    "resolve",
    "show_pipeline",
    "validate_file",
    "weights_model",
]
