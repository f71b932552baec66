"""Headrace beside what users would take instead, and beside the limits of the machine."""
