"""Changes to a params.yaml, for runs of seconds, and its blocks."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

# Seconds instead of minutes: a thousand images and a network of a few filters.
SMALL = {
    "normalize__train_images": 1000,
    "normalize__validation_fraction": 0.02,
    "model__filters": [4, 8],
    "model__dense_units": 8,
    "train__epochs": 2,
    "train__precision": "float32",
    "evaluate__batch_size": 2000,
}

# The notebook's network, and no regularizer.
NOTEBOOK: dict[str, Any] = {
    "network": "notebook_cnn",
    "trainable": "all",
    "input_size": None,
    "filters": (32, 64, 128),
    "dense_units": 64,
    "pool_before_norm": False,
    "activation": "relu",
}
PLAIN: dict[str, Any] = {
    "flip": "none",
    "translate": 0,
    "zoom": 1.0,
    "cutout": 0,
    "brightness": 0.0,
    "contrast": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
OFF: dict[str, Any] = {
    "l2": 0.0,
    "dropout": 0.0,
    "batch_norm": True,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "augment": PLAIN,
    "early_stopping": {"patience": 0},
}


def edit(file: Path, **changes: Any) -> None:
    """Set parameters of a params.yaml; `a__b=1` stands for the key a.b."""
    yaml = YAML()
    content = yaml.load(file)
    for key, value in changes.items():
        *blocks, name = key.split("__")
        place = content
        for block in blocks:
            place = place[block]
        place[name] = value
    yaml.dump(content, file)
