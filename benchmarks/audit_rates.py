"""Detection rate of the data audit: planted faults that it finds, and false alarms on clean sets.

For every seed a clean set of synthetic X-rays is split and audited, then the same set with each fault of
`planted_faults` in it, then a confounded set (one class from one hospital). A fault is caught when a
criterion that names it fails; a false alarm is any failed criterion on the clean set. Others that fail are listed.

    python benchmarks/audit_rates.py --seeds 20 --out runs/benchmarks/audit_rates.json

About 25 s a seed on one core. Killed, it goes on with the seeds that its JSON does not hold yet.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from planted_faults import FAULTS, plant_fault
from pocketcxr.audit.criteria import evaluate_criteria, failed, load_criteria
from pocketcxr.audit.data.data_audit import SIZE, audit_data, find_copies
from pocketcxr.audit.data.leaks import leak_section
from pocketcxr.data.index import build_index
from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.splits.assign import assign_splits
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.labels import TASKS

if TYPE_CHECKING:
    from pocketcxr.data.rows import IndexRow

TASK = TASKS["covid-3class"]
NAMED_BY = {
    "leaked-patient": {"leaks.patients"},
    "re-encoded-copy": {"leaks.near_duplicates"},
    "corner-marker": {"cues.corners"},
    "border": {"cues.border"},
    "confounded": {"confounding.source"},
}
"""The criteria of which at least one must fail for a fault to count as caught."""


def failed_criteria(rows: list[IndexRow], folder: Path, *, seed: int, leaks_only: bool = False) -> list[str]:
    """Audit a table as `pocketcxr audit` does and return the keys of the criteria that failed."""
    dataset = open_dataset(
        rows, TASK, size=SIZE, cache=folder / "cache", unlabelled=True, leaks=True, workers=1, progress=False
    )
    if leaks_only:
        sections = (leak_section(dataset.rows, dataset.pixels, find_copies(dataset)),)
    else:
        sections = audit_data(rows, dataset, seed=seed, progress=False)
    criteria = [one for one in load_criteria() if one.scope == "data"]
    return [result.criterion.key for result in failed(evaluate_criteria(sections, criteria))]


def one_seed(seed: int, *, patients: int, size: int) -> dict[str, list[str]]:
    """Failed criteria of the clean set, of each fault and of the confounded set."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = _drawn(folder / "clean", seed, patients=patients, size=size, confounded=False)
        found = {"clean": failed_criteria(drawn, folder, seed=seed)}
        for fault in FAULTS:
            rows = plant_fault(drawn, fault, out=folder / fault, seed=seed)
            # A moved or copied image changes nothing for the other sections, which were computed on the clean set.
            found[fault] = failed_criteria(rows, folder, seed=seed, leaks_only=fault in FAULTS[:2])
        confounded = _drawn(folder / "confounded", seed, patients=patients, size=size, confounded=True)
        return found | {"confounded": failed_criteria(confounded, folder, seed=seed)}


def _drawn(folder: Path, seed: int, *, patients: int, size: int, confounded: bool) -> list[IndexRow]:
    draw_synthetic_xrays(folder, patients=patients, seed=1000 + seed, size=size, confounded=confounded, progress=False)
    return assign_splits(build_index([folder], progress=False).rows, TASK, seed=seed)


def rates(runs: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, float | int | str]]:
    """Per set: how often the fault was caught (clean: how often any criterion failed), with an exact 95 % interval."""
    table = {}
    for name in ("clean", *NAMED_BY):
        hits = [bool(NAMED_BY[name] & set(run[name])) if name in NAMED_BY else bool(run[name]) for run in runs.values()]
        low, high = clopper_pearson(sum(hits), len(hits))
        others = sorted({key for run in runs.values() for key in set(run[name]) - NAMED_BY.get(name, set())})
        table[name] = {
            "what": "false alarms" if name == "clean" else "caught",
            "sets": len(hits),
            "hits": sum(hits),
            "rate": float(np.mean(hits)),
            "low": low,
            "high": high,
            "other_criteria_that_failed": ", ".join(others),
        }
    return table


def clopper_pearson(hits: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a share."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, total - hits)) if hits < total else 1.0
    return low, high


def main() -> None:
    """Audit what is missing, print the table, keep everything in JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--patients", type=int, default=90)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/audit_rates.json"))
    options = parser.parse_args()
    settings = {"patients": options.patients, "size": options.size}
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    runs = before.get("failed_criteria", before.get("failed_gates", {})) if before.get("settings") == settings else {}
    for seed in range(options.seeds):
        if str(seed) in runs:
            continue
        started = time.perf_counter()
        runs[str(seed)] = one_seed(seed, **settings)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s, {runs[str(seed)]}", flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"settings": settings, "rates": rates(runs), "failed_criteria": runs}
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{'set':18}{'':14}{'rate':>8}  95 % interval   other criteria that failed")
    for name, row in rates(runs).items():
        share = f"{row['hits']}/{row['sets']}"
        print(
            f"{name:18}{row['what']:14}{share:>8}  {row['low']:.2f} to {row['high']:.2f}    "
            f"{row['other_criteria_that_failed'] or '-'}"
        )


if __name__ == "__main__":
    main()
