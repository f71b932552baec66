"""Bringing models into the models bucket, saying which are there, and removing them."""

from producer.models.add import AddedModel, add_model
from producer.models.details import ModelDetails, show_model
from producer.models.given import Given
from producer.models.listing import ModelStatus, list_models
from producer.models.prune import (
    Pruned,
    Unused,
    call_off_interrupted,
    parse_age,
    prune,
    unused,
)
from producer.models.pull import PulledModel, pull_model, push_model
from producer.models.remove import removable, remove_model

__all__ = [
    "AddedModel",
    "Given",
    "ModelDetails",
    "ModelStatus",
    "Pruned",
    "PulledModel",
    "Unused",
    "add_model",
    "call_off_interrupted",
    "list_models",
    "parse_age",
    "prune",
    "pull_model",
    "push_model",
    "removable",
    "remove_model",
    "show_model",
    "unused",
]
