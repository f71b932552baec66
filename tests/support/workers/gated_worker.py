"""A worker of two threads in which each chunk waits for a permit; it tells what it was given.

Open, and like ``echo_worker``, while its ledger's server has no key ``closed``.
"""

import sys
import time

from shared.broker.redis_client import redis_client
from shared.messages import Chunk, Message
from shared.settings import load_settings
from shared.stages import PREPROCESS
from tests.support.workers.echo_worker import pass_on
from workers.celery_worker import run_worker
from workers.runtime import Outcome

THREADS = 2
CLOSED, GIVEN, PERMITS = "closed", "given", "permits"


def wait_for_permit(message: Message, losses: int) -> Outcome:
    """Tell which chunk it is, and wait."""
    client = redis_client(load_settings().ledger_url, None)
    client.rpush(GIVEN, message.chunk)
    while client.exists(CLOSED) and client.lpop(PERMITS) is None:
        time.sleep(0.002)
    return pass_on(message, losses)


if __name__ == "__main__":
    sys.exit(run_worker(PREPROCESS, Chunk, concurrency=THREADS, setup=lambda _: wait_for_permit))
