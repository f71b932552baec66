"""A chunk's answers travel in one message: those that do not fit into it fail, each for itself."""

from __future__ import annotations

import json
from itertools import accumulate

from shared.item import ItemFailure
from shared.messages import Prediction
from workers.inference.postprocess import Answer, model_failure

# As a message writes them. A chunk of 64 captions of the greatest length fits, whatever they say;
# what is left of ``MAX_MESSAGE_BYTES`` is for the items' keys.
MAX_ANSWERS_BYTES = 5 * 2**20
# A prediction without its label, and the most that a character of a label takes.
_PREDICTION_BYTES = 64
_CHARACTER_BYTES = 7


def fitting(answers: list[Answer]) -> list[Answer]:
    """The answers, the largest of which are failures where all of them do not fit."""
    lengths = [len(each.label) for answer in answers if type(answer) is list for each in answer]
    if sum(lengths) * _CHARACTER_BYTES + len(lengths) * _PREDICTION_BYTES <= MAX_ANSWERS_BYTES:
        return answers
    sizes = [_size(answer) for answer in answers]
    by_size = sorted(range(len(answers)), key=sizes.__getitem__)
    taken = accumulate(sizes[row] for row in by_size)
    too_many = {row for row, total in zip(by_size, taken, strict=True) if total > MAX_ANSWERS_BYTES}
    return [
        _too_large(sizes[row], len(answers)) if row in too_many else answer
        for row, answer in enumerate(answers)
    ]


def _size(answer: Answer) -> int:
    if isinstance(answer, ItemFailure):
        return 0
    return sum(_label_bytes(each) + _PREDICTION_BYTES for each in answer)


def _label_bytes(prediction: Prediction) -> int:
    """In a message, which is JSON that holds its body as a text, which is JSON."""
    body = json.dumps(prediction.label, ensure_ascii=False)
    return len(json.dumps(body, ensure_ascii=False).encode())


def _too_large(size_bytes: int, images: int) -> ItemFailure:
    return model_failure(
        f"Its labels take {size_bytes:,} bytes, and the chunk's {images} images have "
        f"{MAX_ANSWERS_BYTES:,} together, of which the smaller ones took theirs first: give "
        "shorter labels or fewer (top_k), or enqueue with a smaller --chunk-items."
    )
