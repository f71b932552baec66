"""The side that does the work: preprocess, inference, collector, and quarantine for all."""
