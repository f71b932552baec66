"""The device stage: engines, models, and the loop that keeps one device busy."""
