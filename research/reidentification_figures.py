"""Measure the audit's re-identification network on patients that it never saw, and what it finds in a split by study.

    python research/reidentification_figures.py X-RAYS --work PATH \
        --table docs/results/reidentification.json

Pairs of images of the patients in the part ``measure`` (`reidentification.part_of`); images of one study are left out
of the main figures, for they may be one exposure processed twice. Intervals: patients drawn with replacement. The split
by study is what the tables of SIIM-FISABIO-RSNA give without ``patients.csv``. Other sets name patients themselves.
`FALSE_RATES` come from pairs of the part ``choose`` (``--rates-only``).
Expected: five minutes on one core; embeddings are kept in --work.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from reidentification import part_of

from pocketcxr.audit.data.persons import EXPECTED_FALSE, FALSE_RATES, find_persons, normalised, usual
from pocketcxr.audit.data.reidentification import WEIGHTS, embed_rows
from pocketcxr.data.index import build_index
from pocketcxr.data.rows import is_frontal_xray
from pocketcxr.data.splits.assign import assign_splits
from pocketcxr.labels import load_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow

_LOGGER = logging.getLogger("reidentification")
OPERATING_RATE = 1e-4
RESAMPLES = 200
BINS = 4000
RATES_KEPT = (1e-3, 1e-4)


def codes(names: Sequence[str]) -> NDArray[np.int64]:
    """Numbers for names."""
    return np.unique(np.array(names), return_inverse=True)[1]


def figures(scores: NDArray[np.float32], patients: NDArray[np.int64], studies: NDArray[np.int64]) -> dict[str, Any]:
    """AUROC, and recall at `OPERATING_RATE`, of pairs of one patient against pairs of two; intervals by patient."""
    first, second = np.triu_indices(len(scores), 1)
    values = scores[first, second]
    same = patients[first] == patients[second]
    one_study = studies[first] == studies[second]
    edges = np.quantile(values, np.linspace(0, 0.99, BINS // 2))
    edges = np.unique(np.concatenate([edges, np.linspace(edges[-1], values.max() + 1e-6, BINS // 2)]))
    places = np.searchsorted(edges, values, side="right")
    counts = len(np.unique(patients))
    rng = np.random.default_rng(0)
    draws = [np.ones(counts)] + [rng.multinomial(counts, np.full(counts, 1 / counts)) for _ in range(RESAMPLES)]
    positive, results = same & ~one_study, list[tuple[float, float]]()
    for drawn in draws:
        weights = drawn[patients[first]] * np.where(same, 1, drawn[patients[second]])
        ones = np.bincount(places[positive], weights[positive], len(edges) + 1)[::-1].cumsum()
        twos = np.bincount(places[~same], weights[~same], len(edges) + 1)[::-1].cumsum()
        ones, twos = ones / ones[-1], twos / twos[-1]
        auroc = float(np.trapezoid(np.concatenate([[0], ones]), np.concatenate([[0], twos])))
        results.append((auroc, float(np.interp(OPERATING_RATE, twos, ones))))
    low, high = np.quantile(results[1:], [0.025, 0.975], axis=0)
    return {"images": len(scores), "patients": counts, "pairs": int(positive.sum()), "others": int((~same).sum())} | {
        key: [round(float(x), 4) for x in (results[0][i], low[i], high[i])]
        for i, key in enumerate(("auroc", "recall_at_1_in_10000"))
    }


def rates(scores: NDArray[np.float32], two_persons: NDArray[np.bool_]) -> list[list[float]]:
    """Likeness that a share of the pairs of two persons reaches, for `RATES_KEPT`, as far as the pairs suffice."""
    others = scores[two_persons]
    return [[round(float(np.quantile(others, 1 - rate)), 2), rate] for rate in RATES_KEPT if rate * len(others) > 5]  # noqa: PLR2004


def without_patients(data: Path, folder: Path) -> Path:
    """SIIM as Kaggle gives it: links to images and tables, without ``patients.csv``."""
    target = folder / "siim"
    if not target.is_dir():
        target.mkdir(parents=True)
        for path in (data / "siim").iterdir():
            if path.name != "patients.csv":
                (target / path.name).symlink_to(path.resolve())
    return target


def found_in(
    rows: Sequence[IndexRow], patients: Sequence[str], embed: Callable[..., NDArray[np.float32]]
) -> dict[str, Any]:
    """What the audit lists of a table with splits, against the patients that it was not told."""
    found = find_persons(rows, embed)
    sides: dict[str, set[str]] = defaultdict(set)
    for row, patient in zip(rows, patients, strict=True):
        if row.split and patient and is_frontal_xray(row):
            sides[patient].add(row.split)
    straddling = {patient for patient, of in sides.items() if len(of) > 1}
    right = [pair for pair in found.pairs if patients[pair.first] and patients[pair.first] == patients[pair.second]]
    known = [pair for pair in found.pairs if patients[pair.first] and patients[pair.second]]
    listed = {patients[pair.first] for pair in right}
    images = {i for pair in found.pairs for i in (pair.first, pair.second)}
    affected = [i for i, row in enumerate(rows) if row.split and patients[i] in straddling and is_frontal_xray(row)]
    return {
        "images": found.images,
        "pairs_compared": found.compared,
        "patients_in_two_splits": len(straddling),
        "patients_found": len(listed & straddling),
        "pairs_listed": len(found.pairs),
        "pairs_listed_of_known_patients": len(known),
        "of_these_two_persons": len(known) - len(right),
        "share_of_images_listed": round(len(images) / max(found.images, 1), 4),
        "share_of_images_whose_patient_is_in_two_splits": round(len(affected) / max(found.images, 1), 4),
    }


def main() -> None:
    """All figures, into one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument(
        "--rates-only", action="store_true", help="only what FALSE_RATES needs; the part measure stays shut"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    def embed(rows: Sequence[IndexRow]) -> NDArray[np.float32]:
        return embed_rows(rows, cache=options.work, progress=True)

    with (options.data / "siim" / "patients.csv").open(newline="", encoding="utf-8") as stream:
        siim = {row["image"]: row for row in csv.DictReader(stream)}
    index = build_index([without_patients(options.data, options.work)], progress=True).rows
    patients = [siim[Path(row.path).stem]["patient"] for row in index]
    studies = [siim[Path(row.path).stem]["study"] for row in index]
    parts = np.array([part_of(patient) for patient in patients])
    embedding = embed(index)
    table: dict[str, Any] = {"bytes": WEIGHTS.stat().st_size, "expected_false": EXPECTED_FALSE}
    table["false_rates"] = [list(rate) for rate in FALSE_RATES]
    for part in ("train", "choose", "measure"):
        places = np.flatnonzero(parts == part)
        several = len({patients[i] for i in places} & _several(patients, studies))
        table[f"siim, {part}"] = {"images": len(places), "patients_with_several_studies": several}
    for part in ("choose",) if options.rates_only else ("choose", "measure"):
        places = np.flatnonzero(parts == part)
        own = codes([patients[i] for i in places]), codes([studies[i] for i in places])
        table[f"siim, {part}"] |= figures(normalised(embedding[places], embedding[places]), *own)
        _LOGGER.info("%s: %s", part, json.dumps(table[f"siim, {part}"]))
    chosen, number = np.flatnonzero(parts == "choose"), codes(patients)
    apart = number[chosen][:, None] < number[chosen]
    middle, spread = usual(embedding[chosen])
    likeness = (normalised(embedding[chosen], embedding[chosen]) - middle) / spread
    table["siim, choose"] |= {"usual": [round(middle, 2), round(spread, 2)], "two persons": rates(likeness, apart)}
    _LOGGER.info("USUAL and FALSE_RATES: %s", table["siim, choose"])
    if options.rates_only:
        return
    split = assign_splits(index, load_task("siim-appearance"))
    table["siim, split by study"] = found_in(split, patients, embed)
    unseen = [i for i, part in enumerate(parts) if part != "train"]
    table["siim, split by study, patients not trained on"] = found_in(
        [split[i] for i in unseen], [patients[i] for i in unseen], embed
    )
    fair = assign_splits(
        [dataclasses.replace(row, patient_id=f"siim:{patient}") for row, patient in zip(index, patients, strict=True)],
        load_task("siim-appearance"),
    )
    nameless = [dataclasses.replace(row, patient_id="", study_id="") for row in fair]
    table["siim, split by patient"] = found_in(nameless, patients, embed)
    table |= elsewhere(options.data, embed)
    _LOGGER.info("%s", json.dumps(table, indent=1))
    options.table.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _several(patients: Sequence[str], studies: Sequence[str]) -> set[str]:
    of: dict[str, set[str]] = defaultdict(set)
    for patient, study in zip(patients, studies, strict=True):
        of[patient].add(study)
    return {patient for patient, own in of.items() if len(own) > 1}


def elsewhere(data: Path, embed: Callable[..., NDArray[np.float32]]) -> dict[str, Any]:
    """Sets that the network did not learn from: covid-chestxray-dataset (adults) and Kermany's children."""
    table: dict[str, Any] = {}
    for name in ("ieee8023", "kermany"):
        rows = [
            row for row in build_index([data / name], progress=True).rows if is_frontal_xray(row) and row.patient_id
        ]
        patients = [row.patient_id for row in rows]
        embedding = embed(rows)
        table[name] = figures(normalised(embedding, embedding), codes(patients), codes([row.path for row in rows]))
        sides = np.random.default_rng(0).choice(["train", "test"], len(rows))
        bare = [
            dataclasses.replace(row, split=str(side), patient_id="", study_id="")
            for row, side in zip(rows, sides, strict=True)
        ]
        table[name]["split by image"] = found_in(bare, patients, embed)
    return table


if __name__ == "__main__":
    main()
