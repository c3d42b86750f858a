"""Copies that the audit finds in a set whose copies are known: precision and recall of pairs, and what it adds.

    python benchmarks/copies_against_manifest.py index.csv $POCKETCXR_DATA/manifest.csv

The reference is a table with the columns ``path`` and ``near_duplicate_group``; pairs within a group count. It is
itself the work of a program, so a pair that it lacks is not therefore wrong: how those
differ is listed, to be looked at.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from pocketcxr.audit.data.data_audit import SIZE, find_copies
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows
from pocketcxr.labels import TASKS


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/copies_against_manifest.json"))
    options = parser.parse_args()
    groups: dict[str, list[str]] = defaultdict(list)
    with options.manifest.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            groups[row["near_duplicate_group"]].append(str(options.manifest.parent / row["path"]))
    known = {path for members in groups.values() for path in members}
    rows = [replace(row, split="train", label="", fold="") for row in read_rows(options.index) if row.path in known]
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(
            rows, TASKS["covid-3class"], size=SIZE, cache=Path(folder), unlabelled=True, leaks=True, progress=True
        )
        copies = find_copies(dataset, progress=True)
        paths = [row.path for row in dataset.rows]
        present = set(paths)
        truth = {
            tuple(sorted(pair))
            for members in groups.values()
            for pair in itertools.combinations([path for path in members if path in present], 2)
        }
        record = {"images": len(paths), "reference_pairs": len(truth)}
        for name, labels in (("likely", copies.groups), ("sure", copies.sure_groups)):
            found = _pairs(paths, np.asarray(labels))
            right = len(found & truth)
            record[name] = {
                "pairs": len(found),
                "recall": right / len(truth),
                "precision_against_reference": right / len(found),
                "beyond_reference": len(found - truth),
                "missed": len(truth - found),
            }
        added = [p for p in copies.pairs if tuple(sorted((paths[p.first], paths[p.second]))) not in truth]
        record["beyond_by_change"] = dict(Counter(pair.change for pair in added))
        record["beyond_within_one_patient"] = sum(
            bool(dataset.rows[p.first].patient_id)
            and dataset.rows[p.first].patient_id == dataset.rows[p.second].patient_id
            for p in added
        )
    print(json.dumps(record, indent=1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _pairs(paths: list[str], labels: np.ndarray) -> set[tuple[str, ...]]:
    members: dict[int, list[str]] = defaultdict(list)
    for path, label in zip(paths, labels.tolist(), strict=True):
        members[label].append(path)
    return {
        tuple(sorted(pair)) for group in members.values() if len(group) > 1 for pair in itertools.combinations(group, 2)
    }


if __name__ == "__main__":
    raise SystemExit(main())
