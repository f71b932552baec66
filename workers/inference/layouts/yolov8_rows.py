"""The layout ``yolov8`` with a row for each cell: (cells, 4 + classes)."""

from workers.inference.layouts.yolov8 import Yolov8

LAYOUT = Yolov8(has_rows=True)
