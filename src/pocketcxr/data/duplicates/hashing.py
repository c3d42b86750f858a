"""Finds the same picture twice: re-encoded, resized, processed anew, cropped a little.

Chest X-rays all look alike to a coarse hash, so it only proposes: pairs within `MAX_HAMMING` of 256 bits are confirmed
by correlating the fine structure (ribs, vessels, devices) of small thumbnails. Both thresholds were chosen on the
public images of the development set by looking at pairs in the order of their correlation. Down to `MIN_CORRELATION`
they were one exposure, or looked like two exposures of one person; one pair in 259 was of two people. Below it, other
people soon prevail. A group too many only keeps two images on one side of a split; a copy missed would leak.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.parallel import ordered_map
from pocketcxr.imaging.resize import resize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

HASH_BITS = 256
HASH_FREQUENCIES = 16
"""The hash keeps the 16 x 16 lowest frequencies of a cosine transform."""

THUMBNAIL_SIZE = 96
MAX_HAMMING = 72
"""Bits of 256 in which two hashes may differ to be looked at. Measured on 400 images: re-encoding at quality 30,
halving and gamma 1.5 change at most 38 bits, cropping 2 % from every side up to 60 in 99 of 100. True copies in the
wild were found up to 72; of 70 million pairs of the development set 16,000 are that close."""

MIN_CORRELATION = 0.7
"""Least correlation of the fine structure of two thumbnails, on [-1, 1], to call them one picture."""

_DETAIL_SIZE = 48
_PADDED = 64  # room for shifts without wrapping round
_MAX_SHIFT = 5  # pixels of the detail image, a tenth of its side
_WORTH_ZOOMING = 0.35  # of 161 copies found without this short cut one lies below, of the candidates a third
_ZOOMS = (0.9, 0.95, 1.0, 1.05, 1.1)
_BLOCK = 512


def thumbnail(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrink a picture for hash and confirmation: float32 [H, W] -> [96, 96], aspect squashed, in [0, 1]."""
    return resize(pixels, size=THUMBNAIL_SIZE, aspect="squash")


def perceptual_hash(small: NDArray[np.float32]) -> str:
    """256-bit hash of a thumbnail: which of the low frequencies lie above their median.

    Scale, compression and any linear change of contrast leave it (nearly) as it is (Zauner 2010, chapter 3.2.1).

    Args:
        small: float32 [96, 96], from `thumbnail`.

    Returns:
        64 hexadecimal digits.
    """
    cosines = _cosines(small.shape[0])
    spectrum = (cosines @ small @ cosines.T).ravel()
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


def detail(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fine structure of a thumbnail: float32 [96, 96] -> [48, 48], local mean removed, local contrast evened out.

    What is left is anatomy and devices; exposure, windowing and edge enhancement mostly go.
    """
    half = small.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    fine = half - _local_mean(half, 2)
    return fine / (np.sqrt(_local_mean(fine * fine, 4)) + np.float32(4 / 255))


def aligned_correlations(first: NDArray[np.float32], others: Sequence[NDArray[np.float32]]) -> list[float]:
    """Correlate one detail image with others, aligned by shifts and zooms of up to a tenth per axis.

    Crops, black borders and squashed aspects of copies differ by such a zoom; other people's ribs do not fall into
    line by one. Pairs whose correlation without zoom is below `_WORTH_ZOOMING` keep that one.

    Args:
        first: float32 [48, 48], from `detail`.
        others: the same, each.

    Returns:
        The largest correlation for each of `others`, on [-1, 1].
    """
    spectra = [_spectrum(other[None])[0].conj() for other in others]
    plain = _spectrum(first[None])
    best = [_peak(plain * spectrum) for spectrum in spectra]
    if max(best, default=-1.0) >= _WORTH_ZOOMING:
        zoomed = np.einsum("aik,kl,bjl->abij", _ZOOM_MATRICES, first, _ZOOM_MATRICES, optimize=True)
        aligned = _spectrum(zoomed.reshape(len(_ZOOMS) ** 2, _DETAIL_SIZE, _DETAIL_SIZE))
        for i, spectrum in enumerate(spectra):
            if best[i] >= _WORTH_ZOOMING:
                best[i] = max(best[i], _peak(aligned * spectrum))
    return best


def _spectrum(images: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Spectra of images brought to mean 0 and norm 1: [n, 48, 48] -> complex64 [n, 64, 33], padded with zeros."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    norm = np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True))
    return np.fft.rfft2(centred / np.maximum(norm, 1e-6), (_PADDED, _PADDED)).astype(np.complex64)


def _peak(product: NDArray[np.complex64]) -> float:
    """Largest value near the middle of cross-correlations given as spectra [n, 64, 33]."""
    overlap = np.fft.irfft2(product, (_PADDED, _PADDED))
    near = np.r_[0 : _MAX_SHIFT + 1, _PADDED - _MAX_SHIFT : _PADDED]
    return float(overlap[:, near][:, :, near].max())


def candidate_pairs(rows: Sequence[IndexRow]) -> list[tuple[int, int]]:
    """Positions of the pairs of rows whose hashes are close; the smaller position first."""
    return [(int(a), int(b)) for a, b in close_pairs([row.perceptual_hash for row in rows])]


def confirmed_pairs(
    rows: Sequence[IndexRow], candidates: Sequence[tuple[int, int]], details: Mapping[int, NDArray[np.float32]]
) -> list[tuple[int, int]]:
    """Those of `candidate_pairs` that show the same picture.

    Args:
        rows: of the index.
        candidates: pairs of positions in it; files with equal bytes are one picture without looking.
        details: fine structure, from `detail`, of every position that stands in `candidates`.
    """
    equal = [(a, b) for a, b in candidates if rows[a].sha256 == rows[b].sha256]
    others: dict[int, list[int]] = defaultdict(list)
    for a, b in candidates:
        if rows[a].sha256 != rows[b].sha256:
            others[a].append(b)

    def confirmed(item: tuple[int, list[int]]) -> list[tuple[int, int]]:
        a, members = item
        found = aligned_correlations(details[a], [details[b] for b in members])
        return [(a, b) for b, correlation in zip(members, found, strict=True) if correlation >= MIN_CORRELATION]

    return equal + [pair for pairs in ordered_map(confirmed, others.items()) for pair in pairs]


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


def _local_mean(image: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Mean over a square of ``2 * radius + 1`` pixels, edges repeated; float32 [n, n] -> [n, n]."""
    side = 2 * radius + 1
    padded = np.pad(image, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return windows.mean(axis=(2, 3), dtype=np.float32)


def _cosines(size: int) -> NDArray[np.float32]:
    """Rows of the DCT-II for the lowest frequencies: float32 [16, size]."""
    sample = np.arange(size)
    frequency = np.arange(HASH_FREQUENCIES)[:, None]
    return np.cos(np.pi * (2 * sample + 1) * frequency / (2 * size)).astype(np.float32)


def _zoom_matrix(zoom: float) -> NDArray[np.float32]:
    """Linear interpolation about the middle: float32 [48, 48], rows that fall outside are zero."""
    place = (np.arange(_DETAIL_SIZE) - (_DETAIL_SIZE - 1) / 2) * zoom + (_DETAIL_SIZE - 1) / 2
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(_DETAIL_SIZE))).astype(np.float32)


_ZOOM_MATRICES = np.stack([_zoom_matrix(zoom) for zoom in _ZOOMS])
