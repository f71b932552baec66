"""One image that ``doctor`` sends through every stage as a job of its own."""

from producer.doctor.probe.passage import Passage
from producer.doctor.probe.run import send_probe

__all__ = ["Passage", "send_probe"]
