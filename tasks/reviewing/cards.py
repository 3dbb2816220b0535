"""Cards of the review: doubtful labels, and copies with two labels."""

import base64
import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks import errors
from tasks.data import arrays
from tasks.datasets.corrections import Correction
from tasks.device.backend import keras
from tasks.metrics.predictions import Probabilities
from tasks.models.inference import logits

N_NEAR = 3  # training images of either class
N_CHOICES = 9  # the most probable classes, which have a key
LARGE, SMALL = 192, 64  # pixels of a picture's longer side, at most
BATCH_SIZE = 1_000

Place = tuple[str, int]  # a split and a row


class Doubt(NamedTuple):
    """An image to judge, or two copies with two labels."""

    kind: str  # doubt or conflict
    places: Sequence[Place]
    suggested: int  # a label


class ReviewData:
    """The images of all splits, with what is known of their labels."""

    def __init__(self, normalized: Path, y_prob: Mapping[str, Probabilities], corrections: Collection[Correction]):
        self.class_names, self.y_prob = arrays.class_names(normalized), y_prob
        held_out = arrays.held_out_split(normalized)  # with folds, images of train once more
        self.splits = [split for split in arrays.splits(normalized) if not (held_out and split == "train")]
        loaded = {
            split: arrays.load_split(normalized, split, len(self.class_names)) for split in arrays.splits(normalized)
        }
        self.images = {split: images for split, (images, _) in loaded.items()}
        self.labels = {split: labels for split, (_, labels) in loaded.items()}
        self.files = {split: arrays.files(normalized, split) for split in loaded}
        self.digests = {split: arrays.image_digests(normalized, split) for split in loaded}
        self.before = {(one.image, one.label): one.was for one in corrections if one.action == "relabel"}
        self.places = {file: (split, row) for split in self.splits for row, file in enumerate(self.files[split])}

    def describe(self, place: Place) -> dict[str, Any]:
        """Describe an image for the page and for a correction."""
        split, row = place
        image, label = self.digests[split][row], self.class_names[self.labels[split][row]]
        return {
            "image": image,
            "file": self.files[split][row],
            "split": split,
            "was": self.before.get((image, label), label),
            "label": label,
            "picture": encode(self.images[split][row], LARGE),
        }


def list_doubts(data: ReviewData, issues: Path, findings: Sequence[arrays.Finding]) -> Iterator[Doubt]:
    """List what a person should judge: conflicts first, then doubtful labels."""
    index = {name: number for number, name in enumerate(data.class_names)}
    for finding in findings:
        pair = [data.places[file] for file in (finding.file, finding.other) if file in data.places]
        if finding.kind == "conflict" and len(pair) == 2:
            yield Doubt("conflict", pair, int(sum(data.y_prob[split][row] for split, row in pair).argmax()))
    try:
        with issues.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield Doubt("doubt", [data.places[row["file"]]], index[row["suggested"]])
    except (KeyError, FileNotFoundError) as error:
        rule = f"{issues} must be of the images in data/normalized"
        raise errors.RefusedError(f"{rule}; received {error}; `dvc repro` makes it anew") from error


def make_cards(data: ReviewData, doubts: Sequence[Doubt], model: keras.Model) -> Iterator[dict[str, Any]]:
    """Make cards, with training images that are near."""
    features = _Features(data, model)
    for doubt in doubts:
        (split, row), label = doubt.places[0], int(data.labels[doubt.places[0][0]][doubt.places[0][1]])
        y_prob = data.y_prob[split][row]
        choices = [*dict.fromkeys([doubt.suggested, *np.argsort(-y_prob, kind="stable").tolist()])][:N_CHOICES]
        yield {
            "kind": doubt.kind,
            "members": [data.describe(place) for place in doubt.places],
            "suggested": data.class_names[doubt.suggested],
            "choices": [[data.class_names[choice], round(float(y_prob[choice]), 3)] for choice in choices],
            "near": [
                (data.class_names[wanted], [encode(data.images["train"][other], SMALL) for other in rows])
                for wanted in dict.fromkeys([label, doubt.suggested])
                for rows in [features.nearest(doubt.places, wanted)]
            ],
        }


class _Features:
    """The network's own features: the input of its logits."""

    def __init__(self, data: ReviewData, model: keras.Model):
        self.data, self.model = data, keras.Model(model.input, model.get_layer("logits").input)
        self.of_train = self._compute(data.images["train"])
        self.rows = {digest: row for row, digest in enumerate(data.digests["train"])}

    def nearest(self, places: Sequence[Place], label: int) -> list[int]:
        """Find the training images of a class that are most alike."""
        split, row = places[0]
        own = {self.rows.get(self.data.digests[split][row]) for split, row in places}
        rows = np.array([row for row in np.flatnonzero(self.data.labels["train"] == label) if row not in own], int)
        likeness = self.of_train[rows] @ self._compute(self.data.images[split][row : row + 1])[0]
        nearest: list[int] = rows[np.argsort(-likeness, kind="stable")[:N_NEAR]].tolist()
        return nearest

    def _compute(self, images: arrays.Images) -> NDArray[np.float32]:
        features = logits(self.model, images, BATCH_SIZE)
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        unit: NDArray[np.float32] = features / np.maximum(norms, np.finfo(np.float32).tiny)
        return unit


def encode(pixels: NDArray[np.uint8], longest: int) -> str:
    """Encode an image as a data address, made smaller than `longest`."""
    picture, content = Image.fromarray(np.asarray(pixels)), io.BytesIO()
    picture.thumbnail((longest, longest))
    picture.save(content, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
