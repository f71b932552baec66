"""What runs a model on a device: one port, ``Engine``, and one file for each engine."""

from workers.inference.engines.port import Engine, Images, Outputs

__all__ = ["Engine", "Images", "Outputs"]
