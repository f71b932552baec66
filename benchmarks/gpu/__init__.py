"""The whole system on a machine with a GPU, beside its limits: ``python -m benchmarks.gpu``."""
