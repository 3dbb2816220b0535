"""MixUp and CutMix: each training image is mixed with another of its batch, and so are their labels.

Both are one mechanism: a part of the image is blended with that part of its partner. MixUp blends the whole image in
some proportion, CutMix replaces a box of it. Labels and weights mix by what the pixels took from the partner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks.params.regularize import Augment
from tasks.training.augmentation import Flags, Images, box, marked

WHOLE = 256  # a share is counted in 256ths, so that integers hold it


class Mixing(NamedTuple):
    """What each of n images takes from another image of its batch.

    Attributes
    ----------
    partners : array of shape (n,), dtype=int32
        The place in the batch of the other image.
    shares : array of shape (n,), dtype=int32
        How much of a blended pixel is the partner's, in 256ths.
    rows : array of shape (n, height), dtype=bool
    columns : array of shape (n, width), dtype=bool
        A pixel is blended where its row and its column are both marked.
    """

    partners: NDArray[np.int32]
    shares: NDArray[np.int32]
    rows: Flags
    columns: Flags

    def apply(self, images: Images) -> Images:
        # Image by image, by rows of values: what fits into the CPU's cache is several times as fast.
        by_row = images.reshape(*images.shape[:2], -1)
        mixed, columns = np.empty_like(by_row), np.repeat(self.columns, 3, axis=1)
        shares = self.shares.astype(np.uint16)  # 255 × 256 + 128 is below 2¹⁶
        for new, own, partner, share, rows, places in zip(
            mixed, by_row, self.partners, shares, self.rows, columns, strict=True
        ):
            new[:] = _blended(own, by_row[partner], (rows[:, None] & places) * share)
        return mixed.reshape(images.shape)

    def apply_on_device(self, images: Any) -> Any:
        shares = ops.cast(box(self.rows, self.columns), "int32") * self.shares[:, None, None]
        own = ops.cast(images, "int32")
        return ops.cast(_blended(own, ops.take(own, self.partners, axis=0), shares[..., None]), "uint8")

    def blend(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mix labels of shape (n, n_classes), or weights of shape (n,), as the pixels were mixed.

        Label smoothing is linear: that of a mixture is the mixture of smoothed labels.
        """
        taken = self.shares / WHOLE * self.rows.mean(axis=1) * self.columns.mean(axis=1)
        taken = taken.astype(np.float32).reshape(-1, *[1] * (targets.ndim - 1))
        mixed: NDArray[np.float32] = (1 - taken) * targets + taken * targets[self.partners]
        return mixed


def _blended(own: Any, others: Any, shares: Any) -> Any:
    """Blend two arrays of pixels, rounded; integers, so that every device computes the same."""
    return (own * (WHOLE - shares) + others * shares + WHOLE // 2) // WHOLE


def sample_mixing(augment: Augment, rng: np.random.Generator, n: int, shape: tuple[int, int]) -> Mixing | None:
    """Draw a partner for each image of a batch, and what it takes from it; None where both mixes are off.

    `augment.mixup` (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) and `augment.cutmix` (Yun et al. 2019,
    https://arxiv.org/abs/1905.04899) are the α of a Beta(α, α) distribution, which the partner's share comes from.
    Where both are on, each batch takes one of the two by chance. Each image has a share of its own, as in Keras'
    layers; the papers draw one for a batch.
    """
    on = [name for name in MIXES if getattr(augment, name)]
    if not on:
        return None
    name = on[rng.integers(len(on))]
    alpha = getattr(augment, name)
    return Mixing(rng.permutation(n).astype(np.int32), *MIXES[name](rng, rng.beta(alpha, alpha, n), shape))


Parts = tuple[NDArray[np.int32], Flags, Flags]


def _whole_images(rng: np.random.Generator, shares: NDArray[np.float64], shape: tuple[int, int]) -> Parts:
    """Blend all pixels, each by its image's share."""
    rows, columns = (np.ones((len(shares), side), bool) for side in shape)
    return (shares * WHOLE).round().astype(np.int32), rows, columns


def _boxes(rng: np.random.Generator, shares: NDArray[np.float64], shape: tuple[int, int]) -> Parts:
    """Replace a box of the image's shape, whose area is the share; what reaches over an edge is lost."""
    n = len(shares)
    lengths = [(np.sqrt(shares) * side).astype(np.int64) for side in shape]
    starts = [rng.integers(0, side, n) - length // 2 for side, length in zip(shape, lengths, strict=True)]
    rows, columns = (
        marked(start, length[:, None], side) for start, length, side in zip(starts, lengths, shape, strict=True)
    )
    return np.full(n, WHOLE, np.int32), rows, columns


# How the partner's share of an image becomes pixels, by its parameter.
MIXES: dict[str, Callable[[np.random.Generator, NDArray[np.float64], tuple[int, int]], Parts]] = {
    "mixup": _whole_images,
    "cutmix": _boxes,
}
