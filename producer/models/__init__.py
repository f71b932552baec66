"""Bringing models into the models bucket, and saying which are there."""

from producer.models.add import AddedModel, add_model
from producer.models.details import ModelDetails, show_model
from producer.models.given import Given
from producer.models.listing import ModelStatus, list_models
from producer.models.pull import PulledModel, pull_model, push_model

__all__ = [
    "AddedModel",
    "Given",
    "ModelDetails",
    "ModelStatus",
    "PulledModel",
    "add_model",
    "list_models",
    "pull_model",
    "push_model",
    "show_model",
]
