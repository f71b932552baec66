"""The stack in containers: the same commands as those of the local one, carried out by Docker.

What containers need lies in the home: secrets, each role's settings, the data. The services
themselves are in ``docker-compose.yml``.
"""

from producer.stack.containers.lifecycle import down, logs, restart, scale, up
from producer.stack.containers.states import processes

__all__ = ["down", "logs", "processes", "restart", "scale", "up"]
