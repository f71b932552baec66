"""What injects faults into a real stack, watches it, and notes what came of it."""
