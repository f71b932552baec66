"""Labelled photos, and how well found boxes agree with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image

from benchmarks.detection.plain import Found

# COCO's names of today, as these labels have them.
_OLD_NAMES = {
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}
# Of what a user would keep, at which precision and recall are counted, and the overlap of a match.
KEPT_SCORE, MATCH_OVERLAP = 0.3, 0.5


class Truth:
    """The folder ``coco-val``: images, and boxes in YOLO's format."""

    def __init__(self, folder: Path) -> None:
        self.names = (folder / "coco.names").read_text().splitlines()
        self.images = sorted((folder / "images").iterdir())
        annotations: list[dict[str, Any]] = []
        images = []
        for number, path in enumerate(self.images, 1):
            width, height = Image.open(path).size
            images.append({"id": number, "file_name": path.name, "width": width, "height": height})
            labels = folder / "labels" / f"{path.stem}.txt"
            for line in labels.read_text().splitlines() if labels.exists() else ():
                label, x, y, w, h = map(float, line.split())
                box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": int(label),
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": n, "name": name} for n, name in enumerate(self.names)]
        self._coco = COCO({"images": images, "annotations": annotations, "categories": categories})
        self._annotations = annotations

    def number_of(self, name: str) -> int:
        """The number of a class; of one that is not labelled, one that no box here has."""
        name = _OLD_NAMES.get(name, name)
        return self.names.index(name) if name in self.names else len(self.names)

    def measured(self, found: Mapping[str, Found]) -> dict[str, float]:
        """mAP@[.5:.95], and precision and recall of what scores ``KEPT_SCORE``. By file name."""
        results = [
            {
                "image_id": number,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for number, path in enumerate(self.images, 1)
            for x1, y1, x2, y2, score, label in found[path.name]
        ]
        evaluated = COCOeval_faster(self._coco, self._coco.loadRes(results), "bbox")
        evaluated.run()
        hits, kept = 0, 0
        for number, path in enumerate(self.images, 1):
            mine = [box for box in found[path.name] if box[4] >= KEPT_SCORE]
            kept += len(mine)
            hits += self._hits(number, mine)
        return {
            "map": float(evaluated.stats[0]),
            "map_50": float(evaluated.stats[1]),
            "precision": hits / max(kept, 1),
            "recall": hits / len(self._annotations),
        }

    def _hits(self, number: int, found: Found) -> int:
        """How many of the boxes match a labelled one that none before them matched."""
        left = [a for a in self._annotations if a["image_id"] == number]
        hits = 0
        for box in sorted(found, key=lambda each: -each[4]):
            overlaps = [_overlap(box, a["bbox"]) * (a["category_id"] == box[5]) for a in left]
            if overlaps and max(overlaps) >= MATCH_OVERLAP:
                left.pop(int(np.argmax(overlaps)))
                hits += 1
        return hits


def _overlap(box: tuple[float, ...], other: list[float]) -> float:
    x, y, width, height = other
    across = min(box[2], x + width) - max(box[0], x)
    along = min(box[3], y + height) - max(box[1], y)
    if across <= 0 or along <= 0:
        return 0.0
    both = across * along
    return both / ((box[2] - box[0]) * (box[3] - box[1]) + width * height - both)
