"""Figures of Headrace alone, each with its target: ``python -m benchmarks.figures``."""
