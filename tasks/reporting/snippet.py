"""The Python that uses the model without this project's code, for the page and the README.

It does what `tasks/data/images.py` does, except with colour profiles, 16 bits a channel and animations.
"""

from collections.abc import Mapping
from typing import Any

RESIZE = {
    "crop": "ImageOps.fit(image, size, Image.Resampling.LANCZOS)",
    "pad": "ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=(128, 128, 128))",
    "stretch": "image.resize(size, Image.Resampling.LANCZOS)",
}
MIRRORED = "(model(pixels) + model(pixels[:, :, ::-1])) / 2"
SNIPPET = """\
import json

import keras
import numpy as np
from PIL import Image, ImageOps

model = keras.models.load_model("{model_path}")
about = json.load(open("reports/evaluation/calibration.json"))  # class names and temperature
size = model.input_shape[2], model.input_shape[1]

image = Image.open("image.png")
image.draft(None, (max(size), max(size)))  # decodes a large JPEG faster
image = ImageOps.exif_transpose(image)  # upright
alpha = image.convert("RGBA").getchannel("A")
image = Image.composite(image.convert("RGB"), Image.new("RGB", image.size, "white"), alpha)
image = {resized}  # normalize.fit: {fit}
pixels = np.asarray(image)[None]
logits = {logits}
probabilities = keras.ops.softmax(logits / (about["temperature"] or 1))[0]
for name, probability in zip(about["classes"], probabilities):
    print(f"{{name}}: {{float(probability):.1%}}")
"""


def write_snippet(parameters: Mapping[str, Any], model_path: str) -> str:
    """Write the lines for a model trained with these blocks of params.yaml.

    Of the test-time augmentations, shifted images are left out: they change doubtful images alone.
    """
    fit, augmentation = parameters["normalize"]["fit"], parameters["evaluate"]["test_time_augmentation"]
    logits = "model(pixels)" if augmentation == "none" else MIRRORED
    return SNIPPET.format(model_path=model_path, resized=RESIZE[fit], fit=fit, logits=logits)
