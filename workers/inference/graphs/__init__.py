"""A user's own ONNX graph: read safely, understood, and made one that takes our images."""
