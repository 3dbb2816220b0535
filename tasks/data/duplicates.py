"""Copies of a picture: equal, resized, saved again, recoloured, mirrored or alike.

Each image is reduced to a perceptual hash and a thumbnail. Images whose hashes differ in few bits are candidates, and
the thumbnails decide. So the time grows with the images and not with their pairs.

The hash is the sign of the lowest 8 × 8 frequencies of a cosine transform against their median (C. Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). A mirror image has the same transform with
the signs of every second column turned, so that its hash takes no second transform.

Pictures are alike whose descriptors, of a pretrained network, are similar. `normalize.copies` says which pairs count.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.sparse.csgraph import minimum_spanning_tree

Images = NDArray[np.uint8]
Vectors = NDArray[np.float32]  # a row for each image

GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

SIDE = 32  # of the grey image that is transformed, in pixels
FREQUENCIES = 8
MARGIN = 0.1  # of a frequency above the median, as a share of the upper quartile of all sizes
THUMBNAIL = 16
BANDS = np.uint64(0xFF) << np.arange(0, 64, 8, dtype=np.uint64)  # parts of a hash
MAX_BITS = len(BANDS) - 2  # hashes that differ in no more have two bands in common
# Of two thumbnails. In CIFAR-10 a lower one finds more true copies, and in plainer pictures, as those of Fashion-MNIST,
# garments that look alike (docs/log.md).
MIN_CORRELATION = 0.99
MAX_COLOUR_DIFFERENCE = 8.0  # of the mean of a channel, 0–255, beyond which a copy is recoloured
MIN_CONTRAST = 4.0  # deviation of a thumbnail; pictures of one colour are all alike
MAX_BUCKET = 2_000  # rows that share two bands and are compared with each other
# Of two descriptors. 65 pairs in 20,000 images of CIFAR-10 have it: each shows one picture, and none has two labels. In
# clip art such pairs are of one series: recoloured, turned, a playing card and the next (docs/data.md).
MIN_SIMILARITY = 0.94
ROWS_AT_ONCE = 10_000


class Pair(NamedTuple):
    """Two rows that show one picture."""

    row: int
    other: int  # comes before `row`
    kind: str  # identical, equal pixels, resized, saved again, recoloured, mirrored or alike


class Signatures(NamedTuple):
    """What images are compared by."""

    pixels: list[bytes]  # a digest of each image's pixels
    hashes: NDArray[np.uint64]
    mirrored: NDArray[np.uint64]  # the hash of each image's mirror image
    thumbnails: NDArray[np.float32]  # of shape (n, THUMBNAIL, THUMBNAIL)
    colours: NDArray[np.float32]  # of shape (n, 3), the mean of each channel
    descriptors: Vectors | None = None  # of a pretrained network; with them similar pairs are copies, too

    def vectors(self) -> Vectors:
        """Return vectors whose cosine tells how much two images are alike."""
        descriptors = self.descriptors
        if descriptors is None:  # the mean of the thumbnails' correlation and the hashes' agreement
            centred = (self.thumbnails - self.thumbnails.mean(axis=(1, 2), keepdims=True)).reshape(-1, THUMBNAIL**2)
            signs = np.unpackbits(self.hashes[:, None].view(np.uint8), axis=1) * 2.0 - 1
            lengths = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), MIN_CONTRAST)
            descriptors = np.concatenate([centred / lengths, signs / 8], axis=1, dtype=np.float32)
        return np.where(self.thumbnails.std(axis=(1, 2))[:, None] < MIN_CONTRAST, 0, descriptors)


def find_duplicates(
    signatures: Signatures, contents: Sequence[str], sizes: NDArray[np.integer], *, equal_only: bool = False
) -> list[Pair]:
    """Find the rows that show the picture of an earlier row.

    Parameters
    ----------
    signatures : Signatures
        Of all images, in the order of the rows.
    contents : sequence of str
        A name of the bytes of each row's file; equal for equal bytes.
    sizes : ndarray of shape (n, 2)
        Width and height of each row's file.
    equal_only : bool
        Whether pictures that only look alike are no copies.

    Returns
    -------
    list of Pair
        By row. All pairs together connect each set of twins.
    """
    pairs, first = _pair_equal(contents, signatures.pixels)
    if equal_only:
        return pairs
    rows = np.flatnonzero(first == np.arange(len(first)))
    rows = rows[signatures.thumbnails[rows].std(axis=(1, 2)) >= MIN_CONTRAST]
    kinds: dict[tuple[int, int], str] = {}
    for is_mirror in (False, True):
        for row, other in _find_alike(signatures, rows, is_mirror):
            kinds.setdefault((row, other), _kind(signatures, sizes, row, other, is_mirror))
    if signatures.descriptors is not None:
        for row, other in _connect_similar(signatures.descriptors, rows):
            kinds.setdefault((row, other), "alike")
    return sorted([*pairs, *(Pair(row, other, kind) for (row, other), kind in kinds.items())])


def _connect_similar(vectors: Vectors, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the fewest similar pairs that connect each cluster."""
    from sklearn.neighbors import NearestNeighbors  # a tenth of a second, only for this

    near = NearestNeighbors(radius=1 - MIN_SIMILARITY, metric="cosine").fit(vectors[rows])
    graph = near.radius_neighbors_graph(mode="distance")
    graph.data += 1  # a distance of 0 would be no edge
    ends = minimum_spanning_tree(graph).nonzero()
    yield from zip(rows[np.maximum(*ends)].tolist(), rows[np.minimum(*ends)].tolist(), strict=True)


def _pair_equal(contents: Sequence[str], pixels: Sequence[bytes]) -> tuple[list[Pair], NDArray[np.int64]]:
    """Pair rows of equal pixels; also return each row's first equal."""
    seen: dict[bytes, int] = {}
    first = np.array([seen.setdefault(digest, row) for row, digest in enumerate(pixels)], np.int64)
    kinds = {True: "identical", False: "equal pixels"}
    pairs = [
        Pair(row, other, kinds[contents[row] == contents[other]])
        for row, other in enumerate(first.tolist())
        if row != other
    ]
    return pairs, first


def compute_signatures(parts: Iterable[Images]) -> Signatures:
    """Compute what images are compared by, from all of them in parts."""
    digests: list[bytes] = []
    hashes, mirrored, thumbnails, colours = [], [], [], []
    for images in parts:
        digests += [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]
        grey = images.astype(np.float32) @ GREY
        spectrum = fft.dctn(_shrink(grey, SIDE), axes=(1, 2), type=2)[:, :FREQUENCIES, :FREQUENCIES]
        hashes.append(_hashes(spectrum))
        mirrored.append(_hashes(spectrum * np.where(np.arange(FREQUENCIES) % 2, -1, 1)))
        thumbnails.append(_shrink(grey, THUMBNAIL))
        colours.append(images.mean(axis=(1, 2), dtype=np.float32))
    return Signatures(digests, *(np.concatenate(parts) for parts in (hashes, mirrored, thumbnails, colours)))


def _shrink(grey: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Average areas of grey images, to `side` rows and columns."""
    rows, columns = (_area_weights(length, side) for length in grey.shape[1:])
    shrunk: NDArray[np.float32] = np.matmul(np.matmul(rows, grey), columns.T)
    return shrunk


def _area_weights(length: int, side: int) -> NDArray[np.float32]:
    # By the exact share of each pixel in each area, so that a mirror image gives the mirrored thumbnail.
    ends = np.arange(side + 1)[:, None] * length / side
    inside = np.minimum(ends[1:], np.arange(1, length + 1)) - np.maximum(ends[:-1], np.arange(length))
    weights = np.maximum(inside, 0)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _hashes(spectrum: NDArray[np.float32]) -> NDArray[np.uint64]:
    # In a picture that is its own mirror image every other frequency is 0, and so is the median: without the margin
    # rounding would decide those bits. The margin is no share of the mean, which a few large frequencies would decide.
    flat = spectrum.reshape(len(spectrum), -1)
    others = flat[:, 1:]  # the first is the mean, which outweighs all
    bits = flat > np.median(others, axis=1, keepdims=True) + MARGIN * np.quantile(
        np.abs(others), 0.75, axis=1, keepdims=True
    )
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def _kind(signatures: Signatures, sizes: NDArray[np.integer], row: int, other: int, is_mirror: bool) -> str:
    if is_mirror:
        return "mirrored"
    if np.abs(signatures.colours[row] - signatures.colours[other]).max() > MAX_COLOUR_DIFFERENCE:
        return "recoloured"
    return "resized" if (sizes[row] != sizes[other]).any() else "saved again"


def _find_alike(signatures: Signatures, rows: NDArray[np.int64], is_mirror: bool) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows that look alike, the later row first."""
    plain, mirrored = signatures.hashes, signatures.mirrored
    # Either of two may be the mirror image: the pairs must not depend on which comes first.
    sides = [(plain, mirrored), (mirrored, plain)] if is_mirror else [(plain, plain)]
    near = [
        pairs[np.bitwise_count(own[pairs[:, 0]] ^ theirs[pairs[:, 1]]) <= MAX_BITS]
        for own, theirs in sides
        for pairs in _pair_in_buckets(own[rows], theirs[rows], rows)
    ]
    candidates = np.unique(np.concatenate([np.empty((0, 2), np.int64), *near]), axis=0)
    for start in range(0, len(candidates), ROWS_AT_ONCE):
        part = candidates[start : start + ROWS_AT_ONCE]
        mine, other = (signatures.thumbnails[part[:, side]] for side in (0, 1))
        agree = _correlation(mine, other[:, :, ::-1] if is_mirror else other) >= MIN_CORRELATION
        yield from map(tuple, part[agree].tolist())


def _pair_in_buckets(
    own: NDArray[np.uint64], theirs: NDArray[np.uint64], rows: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Yield pairs (row, earlier row) whose hashes have two bands in common."""
    n = len(rows)
    for first_band, second_band in combinations(BANDS, 2):
        bands = first_band | second_band
        keys = np.concatenate([own & bands, theirs & bands])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for distance in range(1, MAX_BUCKET):
            same = np.flatnonzero(keys[distance:] == keys[:-distance])
            if not len(same):
                break
            first, second = order[same], order[same + distance]
            has_both = (first < n) & (second >= n)
            pairs = np.stack([rows[first[has_both]], rows[second[has_both] - n]], axis=1)
            yield pairs[pairs[:, 0] > pairs[:, 1]]


def _correlation(mine: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = [images - images.mean(axis=(1, 2), keepdims=True) for images in (mine, other)]
    lengths = [np.sqrt((images**2).sum(axis=(1, 2))) for images in centred]
    correlation: NDArray[np.float32] = (centred[0] * centred[1]).sum(axis=(1, 2)) / (lengths[0] * lengths[1])
    return correlation
