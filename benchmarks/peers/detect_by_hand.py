"""A loop written by hand, for detection: threads fetch and decode, the main thread detects."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from benchmarks.peers.by_hand import AHEAD_BATCHES, BATCH_IMAGES, THREADS, client, keys
from benchmarks.peers.detector import Detector, Viewed, decoder
from benchmarks.peers.task import task_from_arguments


def main() -> None:
    task = task_from_arguments()
    s3, detect, decode = client(task), Detector(task), decoder()

    def load(key: str) -> Viewed:
        return decode(s3.get_object(Bucket=task.bucket, Key=key)["Body"].read())

    left = keys(s3, task)
    with ThreadPoolExecutor(THREADS) as pool:

        def submitted() -> list[Future[Viewed]]:
            return [pool.submit(load, key) for key in islice(left, BATCH_IMAGES)]

        ahead = [submitted() for _ in range(AHEAD_BATCHES)]
        while batch := ahead.pop(0):
            viewed = [future.result() for future in batch]
            ahead.append(submitted())
            detect(viewed)


if __name__ == "__main__":
    main()
