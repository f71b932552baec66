"""Heads: raw outputs to answers, one file for each kind of analysis by a model."""

from importlib import import_module

from workers.inference.heads.port import ClassOutputs, Head, HeadAnswers, NetworkOutputs

__all__ = ["ClassOutputs", "Head", "HeadAnswers", "NetworkOutputs", "head_of"]


def head_of(kind: str) -> Head:
    """The head for a kind of analysis."""
    head: Head = import_module(f"{__name__}.{kind}").HEAD
    return head
