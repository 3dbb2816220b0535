"""MixUp and CutMix: blend training images and their labels in pairs.

Both blend a part of an image with the same part of its partner: MixUp the whole image in some proportion, CutMix a box
entirely. Labels and weights are blended by the partner's share of the pixels.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tasks.params.regularize import Augment
from tasks.training.augmentation import Flags, Images, interval_mask, outer_mask

WHOLE = 256  # shares are integers, in 256ths


class Mixing(NamedTuple):
    """Parts of partners that images take where row and column are True."""

    partners: NDArray[np.int32]  # (n,): the place of the partner in the batch
    shares: NDArray[np.int32]  # (n,): the partner's share of a blended pixel, in 256ths
    rows: Flags  # (n, height)
    columns: Flags  # (n, width)

    def apply(self, images: Images) -> Images:
        # One image at a time, as rows of values: it fits into the CPU's cache, which is several times as fast.
        by_row = images.reshape(*images.shape[:2], -1)
        mixed, columns = np.empty_like(by_row), np.repeat(self.columns, 3, axis=1)
        shares = self.shares.astype(np.uint16)  # 255 × 256 + 128 is below 2¹⁶
        for new, own, partner, share, rows, places in zip(
            mixed, by_row, self.partners, shares, self.rows, columns, strict=True
        ):
            new[:] = _blended(own, by_row[partner], (rows[:, None] & places) * share)
        return mixed.reshape(images.shape)

    def apply_on_device(self, images: Any) -> Any:
        shares = ops.cast(outer_mask(self.rows, self.columns), "int32") * self.shares[:, None, None]
        own = ops.cast(images, "int32")
        return ops.cast(_blended(own, ops.take(own, self.partners, axis=0), shares[..., None]), "uint8")

    def blend(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Blend labels or weights; smoothing may follow, as it is linear."""
        taken = self.shares / WHOLE * self.rows.mean(axis=1) * self.columns.mean(axis=1)
        taken = taken.astype(np.float32).reshape(-1, *[1] * (targets.ndim - 1))
        mixed: NDArray[np.float32] = (1 - taken) * targets + taken * targets[self.partners]
        return mixed


def _blended(own: Any, others: Any, shares: Any) -> Any:
    """Blend two arrays of pixels in integers, which all devices round alike."""
    return (own * (WHOLE - shares) + others * shares + WHOLE // 2) // WHOLE


def sample_mixing(augment: Augment, rng: np.random.Generator, n: int, shape: tuple[int, int]) -> Mixing | None:
    """Draw the partners of a batch; None where both mixes are off.

    `augment.mixup` (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) and `augment.cutmix` (Yun et al. 2019,
    https://arxiv.org/abs/1905.04899) are the α of the Beta(α, α) distribution of the partner's share. Where both
    are on, chance chooses one for each batch. Each image has its own share, as in Keras' layers; the papers draw one
    for a batch.
    """
    on = [(alpha, draw) for alpha, draw in ((augment.mixup, _whole_images), (augment.cutmix, _boxes)) if alpha]
    if not on:
        return None
    alpha, draw = on[rng.integers(len(on))]
    return Mixing(rng.permutation(n).astype(np.int32), *draw(rng, rng.beta(alpha, alpha, n), shape))


MixedParts = tuple[NDArray[np.int32], Flags, Flags]


def _whole_images(rng: np.random.Generator, shares: NDArray[np.float64], shape: tuple[int, int]) -> MixedParts:
    """Blend all pixels, each by its image's share."""
    rows, columns = (np.ones((len(shares), side), bool) for side in shape)
    return (shares * WHOLE).round().astype(np.int32), rows, columns


def _boxes(rng: np.random.Generator, shares: NDArray[np.float64], shape: tuple[int, int]) -> MixedParts:
    """Replace a box; its part beyond an edge is lost."""
    lengths = [(np.sqrt(shares) * side).astype(np.int64) for side in shape]
    starts = [rng.integers(0, side, len(shares)) - length // 2 for side, length in zip(shape, lengths, strict=True)]
    rows, columns = (
        interval_mask(start, length[:, None], side) for start, length, side in zip(starts, lengths, shape, strict=True)
    )
    return np.full(len(shares), WHOLE, np.int32), rows, columns
