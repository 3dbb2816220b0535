"""Small arrays for train and evaluate, a model that was trained on them, and the paths of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

DATA, MODEL, HISTORY = Path("data/normalized"), Path("models/classifier.keras"), Path("reports/history.csv")
METRICS, PREDICTIONS = Path("reports/metrics.json"), Path("reports/predictions.npz")
DETAILS, PAGE = Path("reports/evaluation"), Path("reports/index.html")
EVALUATED = {"metrics_path": METRICS, "predictions_path": PREDICTIONS, "details": DETAILS, "page_path": PAGE}
NAMES = ["zero", "one", "two", "three"]
SIZES = {"train": 300, "validation": 60, "test": 80}


def write_arrays(folder: Path, **sizes: int) -> None:
    """Four classes of noise with a bright column."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, n in sizes.items():
        labels = (np.arange(n) % 4).astype(np.uint8)
        images = rng.integers(0, 120, (n, 32, 32, 3), dtype=np.uint8)
        images[np.arange(n), :, labels * 8, :] = 200
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
    (folder / "classes.json").write_text(json.dumps(NAMES))
    (folder / "constants.json").write_text(json.dumps({"method": "x", "mean": [60.0] * 3, "std": [40.0] * 3}))
