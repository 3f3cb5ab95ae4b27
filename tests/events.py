"""What TensorBoard shows of event files."""

from io import BytesIO

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder):
    """A folder of event files, with every image."""
    found = EventAccumulator(str(folder), size_guidance={"images": 0})
    found.Reload()
    return found


def pixels(event):
    """An image ``[H, W, 3]`` in 0 … 255."""
    with Image.open(BytesIO(event.encoded_image_string)) as image:
        return np.asarray(image)
