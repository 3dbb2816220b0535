"""The notebook's script: stock Keras, float32, 150 epochs.

`python -m bench.reference [SEED …]` measures its validation accuracy, epoch by epoch, and keeps it in
docs/reference.csv: an hour or two for each seed on 2 cores. An interrupted run goes on from its last epoch when
it is called again, and a seed that is in the file is not run again.
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np

EPOCHS = 150
BATCH_SIZE = 64
SEEDS = (0, 1, 2)
CURVE = Path("docs/reference.csv")
SCRATCH = Path(".bench")
WHOLE = f"reference, {EPOCHS} epochs"  # as a side of a ratio
COLUMNS = ("seed", "epoch", "loss", "accuracy", "val_loss", "val_accuracy")


def network() -> Any:
    """Build and compile the notebook's network."""
    import keras
    from keras import layers, regularizers

    inputs = keras.Input(shape=(32, 32, 3))
    x = inputs
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", kernel_regularizer=regularizers.L2(0.01))(x)
        x = layers.BatchNormalization()(x)
        x = keras.activations.relu(x)
        if filters < 128:
            x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(64, activation="relu", kernel_regularizer=regularizers.L2(0.01))(x)
    x = layers.Dropout(0.5)(x)
    made = keras.Model(inputs, layers.Dense(10)(x))
    made.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(learning_rate=3e-4),
        metrics=["accuracy"],
    )
    return made


def arrays(split: str) -> tuple[Any, Any]:
    """Load pixels as the notebook scales them, and labels."""
    images = np.load(f"data/normalized/{split}_images.npy").astype("float32") / 255.0
    return images, np.load(f"data/normalized/{split}_labels.npy")


def train(seed: int) -> None:
    """Train all epochs of one seed, each scored on validation."""
    import keras
    import tensorflow as tf

    # Autotuning decides no number here, but makes the end of an epoch wait for up to the time that it took.
    prefetch, steady = tf.data.Dataset.prefetch, tf.data.Options()
    steady.autotune.enabled = False
    tf.data.Dataset.prefetch = lambda batches, _: prefetch(batches.with_options(steady), 1)
    keras.utils.set_random_seed(seed)
    (SCRATCH / "reference").mkdir(parents=True, exist_ok=True)
    network().fit(
        *arrays("train"),
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        verbose=2,
        validation_data=arrays("validation"),
        callbacks=[
            keras.callbacks.CSVLogger(_log(seed), append=True),
            keras.callbacks.BackupAndRestore(SCRATCH / f"reference/{seed}"),
        ],
    )


def _log(seed: int) -> Path:
    return SCRATCH / f"reference/{seed}.csv"


def curves() -> dict[int, list[dict[str, float]]]:
    """Read the rows of each finished seed in docs/reference.csv."""
    if not CURVE.exists():
        return {}
    found: dict[int, list[dict[str, float]]] = {}
    with CURVE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(int(row["seed"]), []).append({name: float(value) for name, value in row.items()})
    return found


def keep(seed: int) -> None:
    """Add the log of a finished seed to docs/reference.csv."""
    with _log(seed).open(encoding="utf-8") as file:
        # The last row of an epoch counts: one that was cut off after its row was run again.
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    new = not CURVE.exists()
    with CURVE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for epoch in range(EPOCHS):
            values = {name: f"{float(rows[epoch][name]):.4f}" for name in COLUMNS[2:]}
            writer.writerow({"seed": seed, "epoch": epoch + 1, **values})


def main(seeds: list[int]) -> None:
    """Run the seeds that are missing, each in a fresh process."""
    for seed in seeds:
        if seed not in curves():
            code = f"from bench.reference import train; train({seed})"
            subprocess.run([sys.executable, "-u", "-c", code], check=True)
            keep(seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.reference", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, metavar="SEED", help="default: all that are missing")
    main(parser.parse_args().seeds or list(SEEDS))
