"""One image that ``doctor`` sends through every stage as a job of its own."""

from producer.doctor.probe.passage import StepReport
from producer.doctor.probe.run import send_probe

__all__ = ["StepReport", "send_probe"]
