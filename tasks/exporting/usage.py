"""Lines of Python that use a model's files without this project."""

RESIZED = {
    "crop": "ImageOps.fit(image, size, Image.LANCZOS)",
    "pad": "ImageOps.pad(image, size, Image.LANCZOS, (128, 128, 128))",
    "stretch": "image.resize(size, Image.LANCZOS)",
}
# They read neither 16 bits a channel nor colour profiles, for which `classify` has a module.
PICTURE = """
image = Image.open("image.png")
image.draft(None, (max(size), max(size)))  # decodes a large JPEG faster
image = ImageOps.exif_transpose(image)  # upright
alpha = image.convert("RGBA").getchannel("A")
image = Image.composite(image.convert("RGB"), Image.new("RGB", image.size, "white"), alpha)
pixels = np.asarray({resized})[None]  # normalize.fit
"""
PRINT = """\
for name, probability in zip(about["classes"], probabilities):
    print(f"{name}: {float(probability):.1%}")
"""

KERAS = """\
import json

import keras
import numpy as np
from PIL import Image, ImageOps

model = keras.models.load_model("models/classifier.keras")
about = json.load(open("reports/evaluation/calibration.json"))  # class names and temperature
size = about["width"], about["height"]
"""
ONNX = """\
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model = onnxruntime.InferenceSession("models/exports/classifier.onnx")
about = json.loads(model.get_modelmeta().custom_metadata_map["about"])
size = about["width"], about["height"]
"""
LITERT = """\
import json
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

path = "models/exports/{file}"
about = json.load(zipfile.ZipFile(path).open("about.json"))
size = about["width"], about["height"]
"""
KERAS_CALL = """\
logits = {logits}
probabilities = keras.ops.softmax(logits / (about["temperature"] or 1))[0]
"""
LOGITS = {"none": "model(pixels)", "mirror": "(model(pixels) + model(pixels[:, :, ::-1])) / 2"}
ONNX_CALL = """\
probabilities = model.run(None, {"pixels": pixels})[0][0]
"""
LITERT_CALL = """\
probabilities = Interpreter(path).get_signature_runner()(pixels=pixels)["probabilities"][0]
"""


def keras_lines(fit: str, test_time_augmentation: str) -> str:
    """Write the lines that use the Keras file; they shift no image."""
    logits = LOGITS.get(test_time_augmentation, LOGITS["mirror"])
    return KERAS + PICTURE.format(resized=RESIZED[fit]) + KERAS_CALL.format(logits=logits) + PRINT


def exported_lines(file: str, fit: str) -> str:
    """Write the lines that use an exported file, by its name."""
    opened, called = (ONNX, ONNX_CALL) if file.endswith(".onnx") else (LITERT.format(file=file), LITERT_CALL)
    return opened + PICTURE.format(resized=RESIZED[fit]) + called + PRINT
