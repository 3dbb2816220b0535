"""Features of images, computed once and stored beside the checkpoints.

A feature is kept under the digest of its image's pixels, so another split of the same images reuses it.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.device.backend import keras
from tasks.run import kept

# All batches have one size, the last one too: the shape of a batch decides the kernels, and so the last bits of a
# feature. On a CPU a batch of one image differed.
BATCH_SIZE = 32
STORED_TOGETHER = 1024  # images in a file, which is the most that a kill loses
FEATURES_CODE = ("device", "models", "pretrained")  # the code in tasks/ that decides features

Images = NDArray[np.uint8]
Features = NDArray[np.float32]


def compute_features(model: keras.Model, images: Images, key: str) -> Features:
    """Compute features of images, or take stored ones.

    Parameters
    ----------
    model : keras.Model
        From pixels to features.
    images : ndarray of shape (n, height, width, 3), dtype=uint8
        May be larger than memory.
    key : str
        A digest of everything that decides the features of an image, besides its pixels.

    Returns
    -------
    ndarray of shape (n, n_features), dtype=float32
        The same bits, whichever were stored and whatever the order of the images.
    """
    started = time.perf_counter()
    folder = kept.FOLDER / f"features-{key}"
    result = np.empty((len(images), model.output_shape[-1]), np.float32)
    missing: dict[bytes, list[int]] = defaultdict(list)  # the digest of an image, and its rows
    for row, image in enumerate(images):
        missing[hashlib.sha256(image).digest()].append(row)
    for digest, values in kept.read_kept(folder, missing):
        result[missing.pop(digest, [])] = values
    n_computed = sum(map(len, missing.values()))
    digests, batch_size = list(missing), _batch_size(model, images.shape[1:]) if missing else BATCH_SIZE
    for start in range(0, len(digests), STORED_TOGETHER):
        part = digests[start : start + STORED_TOGETHER]
        computed = _compute(model, images, [missing[digest][0] for digest in part], batch_size)
        for digest, values in zip(part, computed, strict=True):
            result[missing[digest]] = values
        kept.keep(folder, part, features=computed)
        done, left = start + len(part), len(digests) - start - len(part)
        if left:
            speed = done / (time.perf_counter() - started)
            print(f"features: {done:,} of {done + left:,} computed  {speed:,.0f} images/s  {left / speed:.0f} s left")
    n_stored, seconds = len(images) - n_computed, time.perf_counter() - started
    print(f"features: {n_stored:,} of {len(images):,} kept from before, {n_computed:,} computed in {seconds:.0f} s")
    return result


def _batch_size(model: keras.Model, image_shape: tuple[int, ...]) -> int:
    """Choose a batch size whose positions all give the same bits.

    TensorFlow's mean on a CPU adds in an order that depends on the position, unless the channels fill its vectors
    (1,280 do, 100 do not). Batches of one image are slow, and always right.
    """
    noise = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, *image_shape), dtype=np.uint8)
    one_way, other_way = model.predict_on_batch(noise), model.predict_on_batch(noise[::-1].copy())
    return BATCH_SIZE if np.array_equal(one_way, other_way[::-1]) else 1


def _compute(model: keras.Model, images: Images, rows: Sequence[int], batch_size: int) -> Features:
    """Compute features in batches of one size, the last one filled up."""
    computed = []
    for start in range(0, len(rows), batch_size):
        batch = images[rows[start : start + batch_size]]
        filled = np.zeros((batch_size, *batch.shape[1:]), np.uint8)
        filled[: len(batch)] = batch
        computed.append(np.asarray(model.predict_on_batch(filled), np.float32)[: len(batch)])
    return np.concatenate(computed)
