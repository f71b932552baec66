"""The layout ``boxes_and_scores`` with corners as shares of the canvas, from 0 to 1."""

from workers.inference.layouts.boxes_and_scores import BoxesAndScores

LAYOUT = BoxesAndScores(is_normalised=True)
