"""Perceptual hash of an image, and the pairs of hashes that are close: candidates for copies of one image.

Chest X-rays all look alike to a coarse hash, so it only proposes: pairs within `MAX_HAMMING` of 256 bits are confirmed
by correlating the fine structure (ribs, vessels, devices) of small thumbnails (`alignment`). Both thresholds were
chosen on the public images of the development set by looking at pairs in the order of their correlation. Down to
`MIN_CORRELATION` they were one exposure, or looked like two exposures of one person; one pair in 259 was of two people.
Below it, other people soon prevail. A group too many only keeps two images in one split; a copy missed would leak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.imaging.resize import resize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

HASH_BITS = 256
HASH_FREQUENCIES = 16
"""The hash keeps the 16 x 16 lowest frequencies of a cosine transform."""

THUMBNAIL_SIZE = 96
MAX_HAMMING = 72
"""Bits of 256 in which two hashes may differ to be compared further. Measured on 400 images: re-encoding at quality 30,
halving and gamma 1.5 change at most 38 bits, cropping 2 % from every side up to 60 in 99 of 100. True copies in the
wild were found up to 72; of 70 million pairs of the development set 16,000 are that close."""

MIN_CORRELATION = 0.7
"""Least correlation of the fine structure of two thumbnails, on [-1, 1], to call them one image."""

_BLOCK = 512


def thumbnail(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrink an image for hash and confirmation: float32 [H, W] -> [96, 96], aspect squashed, in [0, 1]."""
    return resize(pixels, size=THUMBNAIL_SIZE, aspect="squash")


def perceptual_hash(small: NDArray[np.float32]) -> str:
    """256-bit hash of a thumbnail: which of the low frequencies lie above their median.

    Scale, compression and any linear change of contrast leave it (nearly) as it is (Zauner 2010, chapter 3.2.1).

    Args:
        small: float32 [96, 96], from `thumbnail`.

    Returns:
        64 hexadecimal digits.
    """
    rows = cosines(HASH_FREQUENCIES)
    spectrum = (rows @ small @ rows.T).ravel()
    return np.packbits(spectrum > np.median(spectrum)).tobytes().hex()


def close_pairs(hashes: Sequence[str], *, max_hamming: int = MAX_HAMMING) -> NDArray[np.int64]:
    """All pairs of hashes that differ in few bits, by comparing every pair in blocks (1 s per 10,000 images).

    Returns:
        int64 [pairs, 2], positions with the smaller first.
    """
    if not hashes:
        return np.zeros((0, 2), np.int64)
    bits = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(len(hashes), -1)
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(bits), _BLOCK):
        block, rest = bits[start : start + _BLOCK], bits[start:]
        distance = np.zeros((len(block), len(rest)), np.uint16)
        for word in range(bits.shape[1]):
            distance += np.bitwise_count(block[:, None, word] ^ rest[None, :, word])
        first, second = np.nonzero(distance <= max_hamming)
        later = first < second  # rest begins with the block itself
        found.append(np.stack([first[later], second[later]], axis=1) + start)
    return np.concatenate(found)


def connected(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components of a graph: for each of `count` nodes the smallest node of its component (union-find)."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(node) for node in range(count)]


def cosines(frequencies: int, size: int = THUMBNAIL_SIZE) -> NDArray[np.float32]:
    """Rows of the DCT-II for the lowest frequencies: float32 [frequencies, size]."""
    return np.cos(np.pi * (2 * np.arange(size) + 1) * np.arange(frequencies)[:, None] / (2 * size)).astype(np.float32)
