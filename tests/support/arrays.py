"""Small arrays for train and evaluate, and the paths of a run."""

import hashlib
from pathlib import Path

import numpy as np

from tasks.data import arrays
from tests.support import ROOT

DATA, MODEL, HISTORY = Path("data/normalized"), Path("models/classifier.keras"), Path("reports/history.csv")
FOLDS = Path("models/folds.npz")
BACKBONE = ROOT / "data/efficientnet_lite0.sha256"
METRICS, PREDICTIONS = Path("reports/metrics.json"), Path("reports/predictions.npz")
DETAILS, PAGE = Path("reports/evaluation"), Path("reports/index.html")
EVALUATED = {"weights": BACKBONE, "folds_path": FOLDS, "metrics_path": METRICS, "predictions_path": PREDICTIONS}
REPORTED = {
    "history_path": HISTORY,
    "predictions_path": PREDICTIONS,
    "details": DETAILS,
    "page_path": PAGE,
}
NAMES = ["zero", "one", "two", "three"]
SIZES = {"train": 300, "validation": 60, "test": 80}


def write_arrays(folder: Path, **sizes: int) -> None:
    """Write four classes of noise with a bright column."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, n in sizes.items():
        labels = (np.arange(n) % 4).astype(np.int32)
        images = rng.integers(0, 120, (n, 32, 32, 3), dtype=np.uint8)
        images[np.arange(n), :, labels * 8, :] = 200
        files = [f"{split}/{number}.png" for number in range(n)]
        arrays.write_split(folder, split, files, labels, images.shape[1:], [images])
        arrays.write_image_digests(folder, split, [hashlib.sha256(image).hexdigest() for image in images])
    arrays.write_findings(folder, [])
    arrays.write_description(folder, NAMES, "crop", {"method": "x", "mean": [60.0] * 3, "std": [40.0] * 3})
