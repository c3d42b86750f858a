"""Pairs of images in two splits that are probably one person, whom no number joins: found by re-identification.

All pairs across splits are compared, less those that the table joins: the same patient, study or copy (counted under
leaks). Two named patients may be one person under two numbers. The product of two embeddings is counted in standard
deviations of what each of the images has with the nearest of a cohort of other patients (adaptive symmetric
normalisation, Matejka et al. 2017): a chest that resembles many raises no alarm. Nor does a set whose chests are all
alike (children, drawings): likeness is counted from the set's own median, in its own spread (an empirical null, Efron
2004). How often two persons are so alike was measured on patients that the network never saw (`FALSE_RATES`); the pairs
listed are those among which at most one in twenty is expected to be two persons (Benjamini and Hochberg 1995).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.data.duplicates.hashing import connected
from pocketcxr.data.rows import is_frontal_xray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

LEAST_IMAGES = 100
"""Fewer say too little about what is a usual likeness in the set."""

EXPECTED_FALSE = 0.05
"""Share of the listed pairs that may be two persons."""

USUAL = (-5.35, 3.05)
"""Median and spread of normalised products (`usual`) in SIIM-FISABIO-RSNA; a set's own count where they are higher."""

FALSE_RATES = ((2.92, 1e-3), (3.39, 1e-4))
"""Likeness, and the share of pairs of two persons that reach it; beyond the last the slope goes on.

Measured, as `USUAL`, on 170,524 pairs of the patients who chose the network (part ``choose``), who took no part in
training.
"""

_SAMPLE = 1500
_BLOCK = 1024


@dataclass(frozen=True)
class PersonPair:
    """Two positions whose images are probably of one person, and their likeness."""

    first: int
    second: int
    likeness: float


@dataclass(frozen=True)
class Persons:
    """Pairs in two splits that are probably one person, the most alike first.

    `images` were looked at, and `compared` pairs of them; `why` says why none could be, and is empty otherwise.
    """

    pairs: tuple[PersonPair, ...]
    images: int
    compared: int
    why: str = ""

    @property
    def groups(self) -> list[list[int]]:
        """Positions that the pairs join, each group probably one person, the largest first."""
        places = sorted({i for pair in self.pairs for i in (pair.first, pair.second)})
        number = {place: i for i, place in enumerate(places)}
        roots = connected(len(places), [(number[pair.first], number[pair.second]) for pair in self.pairs])
        members: dict[int, list[int]] = defaultdict(list)
        for place, root in zip(places, roots, strict=True):
            members[root].append(place)
        return sorted(members.values(), key=lambda group: (-len(group), group))


def find_persons(rows: Sequence[IndexRow], embed: Callable[[Sequence[IndexRow]], NDArray[np.float32]]) -> Persons:
    """Compare all images in two splits, or two folds, that the table does not join.

    Args:
        rows: with splits or folds; those without, and what is no frontal X-ray, are left out.
        embed: as `embed_rows`; not called where nothing is to be compared.
    """
    places = [i for i, row in enumerate(rows) if (row.split or row.fold) and is_frontal_xray(row)]
    looked = [rows[i] for i in places]
    if len({row.split or row.fold for row in looked}) < 2:  # noqa: PLR2004
        return Persons((), len(looked), 0, "the table has no splits yet; run  pocketcxr split  first")
    if len(looked) < LEAST_IMAGES:
        return Persons((), len(looked), 0, f"expected at least {LEAST_IMAGES} frontal images, found {len(looked)}")
    keys = _keys(looked)
    compared = sum(int(np.count_nonzero(_undecided(keys, start))) for start in range(0, len(looked), _BLOCK))
    if not compared:
        return Persons((), len(looked), 0)
    embedding = embed(looked)
    middle, spread = usual(embedding)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    for start in range(0, len(looked), _BLOCK):
        scores = (normalised(embedding[start : start + _BLOCK], embedding[start:]) - middle) / spread
        first, second = np.nonzero(_undecided(keys, start) & (scores >= FALSE_RATES[0][0]))
        found.append((first + start, second + start, scores[first, second]))
    first, second, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-scores, kind="stable")
    kept = order[: discoveries(false_rate(scores[order]), compared)].tolist()
    pairs = [PersonPair(places[first[i]], places[second[i]], round(float(scores[i]), 2)) for i in kept]
    return Persons(tuple(pairs), len(looked), compared)


def normalised(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalised product of every image of one set and every image of another: float32 [n, m].

    Args:
        some: of the first set, as `embed_rows` returns them: embeddings, then mean and standard deviation of what an
            image has with its nearest others.
        others: of the second set.
    """
    product = some[:, :-2] @ others[:, :-2].T
    mine = (product - some[:, -2:-1]) / some[:, -1:]
    return ((mine + (product - others[:, -2]) / others[:, -1]) / 2).astype(np.float32, copy=False)


def usual(embedding: NDArray[np.float32]) -> tuple[float, float]:
    """Median of normalised products in a set, and a spread: a normal distribution's with the same 99 % quantile.

    Neither is less than in `USUAL`. Products of one person count too; they are too few to matter.
    """
    some = embedding[:: max(1, len(embedding) // _SAMPLE)]
    products = normalised(some, some)[np.triu_indices(len(some), 1)]
    middle, high = np.quantile(products, (0.5, 0.99)).tolist()
    return max(middle, USUAL[0]), max((high - middle) / 2.326, USUAL[1])


def false_rate(likeness: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of pairs of two persons that are at least so alike, by `FALSE_RATES`."""
    known, rate = np.array(FALSE_RATES).T
    logs = np.log10(rate)
    slope = (logs[-1] - logs[-2]) / (known[-1] - known[-2])
    beyond = np.maximum(likeness - known[-1], 0) * slope
    return np.power(10.0, np.interp(likeness, known, logs) + beyond)


def discoveries(rates: NDArray[np.float64], compared: int) -> int:
    """How many of the first pairs to list, so that `EXPECTED_FALSE` of them at most are expected to be false.

    Args:
        rates: false rate of each candidate, ascending.
        compared: pairs that the candidates were chosen from.
    """
    fits = np.flatnonzero(rates * compared <= EXPECTED_FALSE * np.arange(1, len(rates) + 1))
    return int(fits[-1]) + 1 if len(fits) else 0


def _keys(rows: Sequence[IndexRow]) -> NDArray[np.int64]:
    """What decides about pairs, as numbers, a column per row; -1 is unknown. The first line is the split or fold."""
    names = [
        [row.split or row.fold for row in rows],
        [row.patient_id for row in rows],
        [row.study_id for row in rows],
        [row.duplicate_group for row in rows],
        [row.sha256 for row in rows],
    ]
    numbers: list[dict[str, int]] = [{} for _ in names]
    columns = [
        [known.setdefault(name, len(known)) if name else -1 for name in column]
        for known, column in zip(numbers, names, strict=True)
    ]
    return np.array(columns, np.int64)


def _undecided(keys: NDArray[np.int64], start: int) -> NDArray[np.bool_]:
    """Which pairs of a block and what follows its rows stand in two splits, undecided by the table: bool [n, m]."""
    mine, rest = keys[:, start : start + _BLOCK, None], keys[:, None, start:]
    undecided = (mine[0] != rest[0]) & (np.arange(rest.shape[2]) > np.arange(mine.shape[1])[:, None])
    for one, other in zip(mine[1:], rest[1:], strict=True):
        undecided &= (one != other) | (one < 0)
    return undecided
