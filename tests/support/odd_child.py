"""``python -m tests.support.odd_child``: a child that does what it is asked, however odd."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    if asked == "environment":
        sys.stdout.write(json.dumps(dict(os.environ)))
    elif asked == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif asked == "eat":  # as a file does that unpacks to far more
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        try:  # memory that nobody writes to costs the machine nothing
            eaten = [mmap.mmap(-1, 2**30, flags=private) for _ in range(2**10)]
        except OSError as error:
            sys.stdout.write(str(error.strerror))
    else:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        Path(asked).write_text(f"{child.pid}\n")
        time.sleep(600)
