"""The type of pixels, apart from the modules that decode, stage and analyse them."""

import numpy as np
import numpy.typing as npt

# RGB where it has three dimensions: (height, width, 3), or (images, height, width, 3) with four.
Pixels = npt.NDArray[np.uint8]
