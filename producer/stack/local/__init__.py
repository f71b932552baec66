"""The local stack: the whole system on one machine, under a supervisor that restarts what dies.

``up`` and ``down`` start and stop it, ``processes`` and ``logs`` show it, ``scale`` and ``restart``
change it while it runs. Everything lies in one folder, the home; nothing listens beyond loopback.
"""

from producer.stack.local.lifecycle import down, restart, scale, up
from producer.stack.local.log_lines import logs
from producer.stack.local.states import processes

__all__ = [
    "down",
    "logs",
    "processes",
    "restart",
    "scale",
    "up",
]
