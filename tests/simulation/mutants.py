"""Can the simulation fail? Each mutant is one thing that the product must not do.

``python -m tests.simulation.mutants [NAME...]`` makes each in a copy of the sources, and tells
after how many seeds it was found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("producer", "workers", "shared", "tests")
# The rarest is found by the 2325th seed; each ends at the seed that finds it.
SEEDS = 4000


@dataclass(frozen=True, slots=True)
class Mutant:
    """In ``file``, ``old`` becomes ``new``. ``also``: what would make up for it is gone, too."""

    name: str
    file: str
    old: str
    new: str
    also: Mutant | None = None

    def apply(self, root: Path) -> None:
        """Change the sources under ``root``."""
        text = (root / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} is not as the mutant '{self.name}' knows it")
        (root / self.file).write_text(text.replace(self.old, self.new))
        if self.also is not None:
            self.also.apply(root)


_SCRIPTS = "shared/ledger/scripts"
_READ_UNSEEN = Mutant(
    "a slot is read whatever its header says",
    "shared/staging/ring.py",
    "if _read_header(lock) != ref:",
    "if False:",
)
MUTANTS = (
    Mutant(
        "a held chunk is advanced by anybody",
        f"{_SCRIPTS}/advance.lua",
        "if held_by(e, ARGV[5], attempt, ARGV[6]) then",
        "if e then",
    ),
    Mutant(
        "a held chunk is claimed again",
        f"{_SCRIPTS}/claim.lua",
        "if e.state ~= 'queued' or e.stage ~= stage then",
        "if e.stage ~= stage then",
    ),
    Mutant(
        "another attempt is claimed",
        f"{_SCRIPTS}/claim.lua",
        "if e.attempt ~= attempt then return stale('attempt') end",
        "",
    ),
    Mutant(
        "a rescue keeps the attempt",
        f"{_SCRIPTS}/_prelude.lua",
        "e.attempt, e.rescues = e.attempt + 1, e.rescues + 1",
        "e.rescues = e.rescues + 1",
    ),
    Mutant(
        "leases are never looked at",
        f"{_SCRIPTS}/rescue_held.lua",
        "redis.call('EXISTS', 'hr:lease:' .. worker) == 0",
        "false",
    ),
    Mutant(
        "an unnamed chunk stays held",
        f"{_SCRIPTS}/renew.lua",
        "redis.call('HINCRBY', 'hr:held:' .. worker, m, 1)",
        "redis.call('HSET', 'hr:held:' .. worker, m, 0)",
    ),
    Mutant(
        "another incarnation's messages count",
        f"{_SCRIPTS}/_prelude.lua",
        "return redis.call('GET', 'hr:incarnation') == ARGV[1]",
        "return true",
    ),
    Mutant(
        "lost messages are not missed",
        "producer/lead/rescue.py",
        "lost = min(missing, before.get(queue, 0))",
        "lost = 0",
    ),
    Mutant(
        "the slot is let go before the ledger knows",
        "workers/runtime.py",
        "        try:\n            self.retry_while_unavailable(\n"
        "                lambda: self.ledger.advance(",
        "        outcome.release()\n        try:\n            self.retry_while_unavailable(\n"
        "                lambda: self.ledger.advance(",
        also=_READ_UNSEEN,
    ),
    Mutant(
        "a slot is taken without asking the ledger again",
        "shared/staging/ring.py",
        "if header is not None and (is_staged is None or is_staged(header)):",
        "if False:",
        also=_READ_UNSEEN,
    ),
    Mutant(
        "a slot is taken whatever it holds",
        "shared/staging/ring.py",
        "            if is_staged:\n                continue\n",
        "",
        also=Mutant(
            "nor is the ledger asked again",
            "shared/staging/ring.py",
            "if header is not None and (is_staged is None or is_staged(header)):",
            "if False:",
        ),
    ),
    Mutant(
        "a reader lets go of the slot before it has read",
        "workers/inference/stage.py",
        "            try:\n                yield read(hold.pixels)",
        "            hold.release()\n            try:\n                yield read(hold.pixels)",
    ),
    Mutant(
        "every chunk goes on to inference",
        "shared/pipeline.py",
        "return (PREPROCESS, INFERENCE, RESULTS) if self.staged_views else (PREPROCESS, RESULTS)",
        "return (PREPROCESS, INFERENCE, RESULTS)",
    ),
    Mutant(
        "a chunk is done where preprocessing has answered it",
        "workers/runtime.py",
        "lambda: self.ledger.advance(message.ref, stage, self.identity, outcome.stage, queue)",
        "lambda: (self.ledger.finish(message.ref, self.identity, {})"
        " if stage.writes_pixels and outcome.stage.last"
        " else self.ledger.advance(message.ref, stage, self.identity, outcome.stage, queue))",
    ),
    Mutant(
        "a segment is put, not created",
        "producer/lead/lister.py",
        "if self._retry_forever(lambda: store.create(bucket, key, data)):",
        "if self._retry_forever(lambda: store.put(bucket, key, data)) is None:",
    ),
    Mutant(
        "a refused segment counts as written",
        "producer/lead/lister.py",
        'raise ManifestTaken("manifest_taken"',
        'log.debug("%s: %s", "manifest_taken"',
    ),
    Mutant(
        "a listing that goes on skips nothing",
        "producer/lead/lister.py",
        "if isinstance(item, Item) and not (is_resumed and item.key in seen):",
        "if isinstance(item, Item):",
    ),
    Mutant(
        "a chunk file is put, not created",
        "workers/collector/chunk_file.py",
        "        if self._store.create(self._bucket, key, data):\n",
        "        if self._store.put(self._bucket, key, data) is None:\n",
    ),
    Mutant(
        "a chunk is done before its file is written",
        "workers/collector/chunk_file.py",
        "        if self._store.create(self._bucket, key, data):\n",
        "        if not data:\n",
    ),
    Mutant(
        "a job closes at what is listed so far",
        "shared/manifest.py",
        "            return self._seal\n\n    def rows",
        "            last = self._pages.get(max(self._pages, default=0))\n"
        "            return self._seal or (Seal(last.end_chunk, 0, 0, 0) if last else None)\n\n"
        "    def rows",
    ),
    Mutant(
        "missing chunk files are not looked for again",
        "workers/collector/job_closer.py",
        "self._ledger.reopen(incarnation, self.spec.job_uid, chunk)",
        "pass",
        also=Mutant(
            "nor are they kept in memory",
            "workers/collector/chunk_file.py",
            "            self._remember(key, _Answers(*known))\n",
            "            pass\n",
        ),
    ),
    Mutant(
        "chunk files go before the job is closed",
        "workers/collector/closing.py",
        "    manifest = _existing(output, spec, proposed)\n",
        "    manifest = _existing(output, spec, proposed)\n"
        "    drop_chunk_files(jobs, output, spec, manifest.closing())\n",
    ),
    Mutant(
        "a job that fails too often is a success",
        "shared/job.py",
        'return "too_many_errors" if is_over else None',
        "return None",
    ),
    Mutant(
        "a job is stopped by one failure",
        "producer/lead/error_limit.py",
        "if not limit.exceeded(succeeded=succeeded, failed=failed):",
        "if not failed:",
    ),
    Mutant(
        "a job that was stopped closes as if it were whole",
        "workers/collector/job_closer.py",
        "self._seal.cancelled or self._jobs.ends_early(self.spec)",
        "self._seal.cancelled or self._jobs.is_cancelled(self.spec.job_id)",
    ),
    Mutant(
        "the feed's cursor skips a chunk",
        "producer/lead/feed.py",
        "            self._unsent.extend(refs)\n",
        "            self._cursor += len(refs) > 1\n            self._unsent.extend(refs)\n",
        also=Mutant(
            "nor begins again",
            "producer/lead/feed.py",
            "return bool(progress and progress.live_chunks == 0",
            "return bool(False and progress.live_chunks == 0",
        ),
    ),
    Mutant(
        "the second view stays where failed images have left gaps",
        "shared/staging/pixel_layout.py",
        "closer.array(pixels, view)[:] = self.array(pixels, view)[:images]",
        "pass",
    ),
    Mutant(
        "what the bucket shows to be done is not entered",
        "producer/lead/leader.py",
        "self._ledger.register_job(incarnation, uid, job_id, job.spec.first_queue, done)",
        "pass",
    ),
)


def main(chosen: list[str]) -> int:
    """Exit code 1 where a mutant lives."""
    living = 0
    for mutant in MUTANTS:
        if not chosen or mutant.name in chosen:
            found = _found_at(mutant)
            living += found is None
            print(f"{mutant.name}: {found or f'lives after {SEEDS} seeds'}", flush=True)
    return 1 if living else 0


def _found_at(mutant: Mutant) -> str | None:
    """After how many seeds it was found, and how it showed."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in SOURCES:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        mutant.apply(copy)
        command = [sys.executable, "-m", "tests.simulation", f"--seeds={SEEDS}", "--until-wrong"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        played = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
    wrong = re.search(r"^  WRONG: (.*)$", played.stdout, re.MULTILINE)
    after = re.search(r"^(\d+) seeds", played.stdout, re.MULTILINE)
    if played.returncode == 0:
        return None
    if not wrong or not after:
        raise RuntimeError(played.stderr)
    return f"{after[1]} seeds, {wrong[1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
