"""A user's class that answers with the shape of each image, and a pipeline for it."""

PLUGIN = """
class Shape:
    def __call__(self, images):
        return [(f"{image.shape[0]}x{image.shape[1]}", 1.0) for image in images]
"""
PIPELINE = (
    "name: shape\n"
    "preprocess: {resize_shorter_pixels: 48, crop_pixels: 32}\n"
    "model: {python: 'shape:Shape'}\n"
)
