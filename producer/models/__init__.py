"""Bringing models into the models bucket, and saying which are there."""

from producer.models.listing import ModelStatus, list_models
from producer.models.pull import PulledModel, pull_model, push_model

__all__ = ["ModelStatus", "PulledModel", "list_models", "pull_model", "push_model"]
