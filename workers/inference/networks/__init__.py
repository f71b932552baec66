"""torchvision's networks: their weights' files, which architecture they are of, and detectors."""
