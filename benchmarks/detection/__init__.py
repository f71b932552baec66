"""Detection: how right it is beside a plain script, and how fast beside what users would take."""
