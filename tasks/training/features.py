"""Features of images, computed once and kept with the checkpoints: another split of the same images takes them.

Each is kept under the digest of its image's pixels, in files that are named by the digest of their content. A file is
written under a temporary name and renamed, and one that does not match its name is dropped. Two runs at once may both
compute an image; neither loses what the other kept.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from tasks.device.backend import keras
from tasks.run.outputs import atomic_outputs
from tasks.training import checkpoints

# All batches have one size, the last one too: kernels are chosen by the shape of a batch, and in one of another size
# the same image may differ in its last bits. On a CPU a batch of one image did.
BATCH_SIZE = 32
KEPT_TOGETHER = 1024  # images in a file: what a kill may lose

Images = NDArray[np.uint8]
Features = NDArray[np.float32]


def features(model: keras.Model, images: Images, key: str) -> Features:
    """Take the features that are kept, compute the others and keep them.

    Parameters
    ----------
    model : keras.Model
        From pixels to features.
    images : ndarray of shape (n, height, width, 3), dtype=uint8
        Read batch by batch: they may be larger than memory.
    key : str
        Of all that decides the features of an image, besides its pixels.

    Returns
    -------
    ndarray of shape (n, n_features), dtype=float32
        The same bits, whichever were kept and whatever the order of the images.
    """
    started = time.perf_counter()
    folder = checkpoints.FOLDER / f"features-{key}"
    result = np.empty((len(images), model.output_shape[-1]), np.float32)
    missing: dict[bytes, list[int]] = defaultdict(list)  # rows of the images of a digest
    for row, image in enumerate(images):
        missing[hashlib.sha256(image).digest()].append(row)
    for digest, values in _kept(folder):
        if digest in missing:
            result[missing.pop(digest)] = values
    n_kept = len(images) - sum(map(len, missing.values()))
    batch_size = _batch_size(model, images.shape[1:]) if missing else BATCH_SIZE
    for digests, done in _parts(list(missing)):
        computed = _compute(model, images, [missing[digest][0] for digest in digests], batch_size)
        for digest, values in zip(digests, computed, strict=True):
            result[missing[digest]] = values
        _keep(folder, digests, computed)
        throughput = done / (time.perf_counter() - started)
        if done < len(missing):
            left = (len(missing) - done) / throughput
            print(f"features: {done:,} of {len(missing):,} computed  {throughput:,.0f} images/s  {left:.0f} s left")
    seconds = time.perf_counter() - started
    n_computed = len(images) - n_kept
    print(f"features: {n_kept:,} of {len(images):,} kept from before, {n_computed:,} computed in {seconds:.0f} s")
    return result


def _parts(digests: list[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Divide what is computed into what is kept together; with the number that are then done."""
    for start in range(0, len(digests), KEPT_TOGETHER):
        part = digests[start : start + KEPT_TOGETHER]
        yield part, start + len(part)


def _batch_size(model: keras.Model, image_shape: tuple[int, ...]) -> int:
    """Choose a batch size in which an image's place does not decide its last bits.

    TensorFlow's mean on a CPU adds in an order that depends on the place, unless the channels fill its vectors (1,280
    do, 100 do not). Batches of one image are slow, and always right.
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


def _kept(folder: Path) -> Iterator[tuple[bytes, Features]]:
    """Read what is kept: the digest of an image's pixels, and its features."""
    with suppress(OSError):
        os.utime(folder)  # in use, or it would be removed after a while
    for file in sorted(folder.glob("[!.]*.npz")):
        try:
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() != file.stem:
                raise ValueError("the file does not match its digest")
            with np.load(BytesIO(content)) as saved:
                pixels, values = saved["pixels"], saved["features"]
        except (OSError, ValueError) as error:
            print(f"features: {file} is damaged and dropped: {error}")
            with suppress(OSError):
                file.unlink()
            continue
        yield from zip(map(bytes, pixels), values, strict=True)


def _keep(folder: Path, digests: Sequence[bytes], values: Features) -> None:
    """Write features beside those that are kept. Where that fails, the run goes on without."""
    buffer = BytesIO()
    np.savez(buffer, pixels=np.array([list(digest) for digest in digests], np.uint8), features=values)
    content = buffer.getvalue()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Locked, or two runs of the same images would write under one temporary name.
        with (
            FileLock(folder / ".lock"),
            atomic_outputs(folder / f"{hashlib.sha256(content).hexdigest()}.npz") as (file,),
        ):
            file.write_bytes(content)
    except OSError as error:
        print(f"features: {len(digests):,} could not be kept: {error}")
